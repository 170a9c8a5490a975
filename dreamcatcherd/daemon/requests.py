"""What signals, hints and operators ask of the daemon's loop, until it is done."""

from __future__ import annotations


class LoopRequests:
    """Asked for from any thread, taken by the loop alone."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._close_of: int | None = None  # the frame that the loop began to close by hand

    def ask(self, what: str) -> None:
        """Ask for something; asking twice before it is done is asking once."""
        self._asked.add(what)

    def take(self, what: str) -> bool:
        """Whether something was asked for; it is done with this answer."""
        asked = what in self._asked
        self._asked.discard(what)
        return asked

    def wants_close(self, frame: int) -> bool:
        """Whether the open frame is to be closed by hand.

        It is until `end_close`, so a close that fails is repeated; but not in another frame, which is open because the
        publication that seemed to fail had landed, or because another primary was faster."""
        if "close" in self._asked and self._close_of not in (None, frame):
            self.end_close()
        if "close" not in self._asked:
            return False
        self._close_of = frame
        return True

    def end_close(self) -> None:
        """The frame is closed, or cannot be closed by asking for it again."""
        self._asked.discard("close")
        self._close_of = None
