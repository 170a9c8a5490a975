"""The pure part: no I/O of its own, no clock, no git library. Same input, same bytes."""
