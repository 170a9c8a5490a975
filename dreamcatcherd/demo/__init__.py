"""The demo fleet: workers that push with plain git, and the comparison of what was lost."""
