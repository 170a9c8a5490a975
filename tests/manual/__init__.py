"""The manual pages, made with click-man at build time: `make man`."""
