"""The pieces of a large merge between its two steps: on disk, since together they are as large as all its deltas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

from dreamcatcherd.git.scratch_file import ScratchFile


class Spill:
    """Pieces by part, in one file without a name below `$TMPDIR`, which the system removes with this process."""

    def __init__(self, parts: int) -> None:
        """RetryableError if there is no folder for the file."""
        self._file = ScratchFile("the pieces of a large merge")
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(parts)]

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def add(self, pieces: Sequence[bytes]) -> None:
        """Keep a piece for each part; empty ones take no place. RetryableError if the disk refuses."""
        for part, piece in enumerate(pieces):
            if piece:
                self._places[part].append(self._file.add(piece))

    @property
    def filled(self) -> int:
        """How many parts have pieces."""
        return sum(map(bool, self._places))

    def parts(self) -> Iterator[list[bytes]]:
        """The pieces of each part that has any, one part at a time. RetryableError if the disk does not give them
        back."""
        for places in self._places:
            if places:
                yield [self._file.read(place) for place in places]
