"""Test vectors for any implementation of the protocol, run against this one (conformance/README.md)."""
