"""The server-side check: what a push may bring, run by git as the pre-receive hook."""
