"""The checks of `dreamcatcherd doctor`."""
