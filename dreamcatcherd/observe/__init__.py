"""Logs and metrics, fed from cycle reports alone."""
