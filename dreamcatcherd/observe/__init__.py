"""Logs and metrics, both from cycle reports alone."""
