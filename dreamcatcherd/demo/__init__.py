"""The demo fleet: workers that push with plain git, and the comparison of pushed and merged deltas."""
