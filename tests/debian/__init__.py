"""The Debian package, made with debhelper from config/debian: `make deb`."""
