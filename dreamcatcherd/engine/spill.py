"""The pieces of a large merge between its two steps: on disk, since together they are as large as all its deltas."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType

from dreamcatcherd.core.errors import RetryableError


class Spill:
    """Pieces by part, in one file without a name below `$TMPDIR`, which the system removes with this process."""

    def __init__(self, parts: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="dreamcatcherd-")  # noqa: SIM115 (closed by `close`)
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        self._end = 0

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def add(self, pieces: Sequence[bytes]) -> None:
        """Keep a piece for each part; empty ones take no place. RetryableError if the disk refuses."""
        try:
            self._file.seek(self._end)
            for part, piece in enumerate(pieces):
                if piece:
                    self._file.write(piece)
                    self._places[part].append((self._end, len(piece)))
                    self._end += len(piece)
        except OSError as error:
            cause = f"the pieces of a large merge could not be written to {tempfile.gettempdir()}: {error.strerror}"
            raise RetryableError(cause, "free some space there, or name another folder: TMPDIR=…") from error

    @property
    def filled(self) -> int:
        """How many parts have pieces."""
        return sum(map(bool, self._places))

    def parts(self) -> Iterator[list[bytes]]:
        """The pieces of each part that has any, one part at a time."""
        for places in self._places:
            if places:
                yield [self._read(*place) for place in places]

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)
