"""Test vectors: what builds `conformance/`, and what holds it to the simple model of `tests/law`."""
