"""The projections that every merge keeps up to date. A new one is added to this list, and the merge stays as it is."""

from __future__ import annotations

from dreamcatcherd.core.books.library import BooksProjection
from dreamcatcherd.core.projection import NewProjection

PROJECTIONS: tuple[NewProjection, ...] = (BooksProjection,)
"""In the order in which they are updated. All merges of one history need the same ones: their collections are part of
the snapshot, and so of the digest."""
