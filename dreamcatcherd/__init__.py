"""The coordinator of the Dream Catcher Protocol: many workers add deltas, one daemon merges them."""

__version__ = "0.1.0"
