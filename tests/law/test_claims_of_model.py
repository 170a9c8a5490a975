"""Claims in the simple model, by small examples: who holds what, until when, and what is answered."""

from __future__ import annotations

from typing import Any

from tests.law.hand import sent, stamp
from tests.law.model import Sent, content_id, decisions, model, stamped


def closed(*deltas: tuple[Sent, int]) -> tuple[dict[tuple[int, str], int], list[Sent]]:
    """Deltas, each with the frame whose close merges it."""
    return {(stamped(one)[0][0], content_id(one)): frame for one, frame in deltas}, [one for one, _ in deltas]


def told(*deltas: tuple[Sent, int]) -> list[tuple[str, str, str | None, int | None]]:
    """Stream, outcome, holder and end of each decision."""
    closes, all_of_them = closed(*deltas)
    return [(row["stream_id"], row["outcome"], row["holder"], row["until"]) for row in decisions(all_of_them, closes)]


def tasks(*deltas: tuple[Sent, int]) -> list[Any]:
    """The records of the collection."""
    closes, all_of_them = closed(*deltas)
    found: list[Any] = model(all_of_them, closes)["state"]["tasks"]
    return found


def ask(second: int, stream: str, op: str | None = None, **fields: Any) -> Sent:
    """A delta that claims, renews or releases the one resource."""
    return sent(second, stream, claims=[{"resource": "r", **({"op": op} if op else {}), **fields}])


def test_of_fifty_claimants_the_earliest_is_granted() -> None:
    """All others of the same close are refused and told the holder, whatever the order of the list."""
    asking = [ask(n, f"s{n:02}") for n in range(49, -1, -1)]
    (row,) = model(asking)["state"]["tasks"]
    first = stamp(asking[-1], 0, "s00")
    assert row == {"resource": "r", "holder": "s00", "since": 1, "until": 3, "_stamp": first}
    answers = [(row["outcome"], row["holder"], row["until"]) for row in decisions(asking)]
    assert answers == [("granted", "s00", 3)] + [("refused", "s00", 3)] * 49


def test_a_decision_stands_whatever_comes_later() -> None:
    """An earlier stamp that is merged by a later close is refused."""
    held, late = ask(5, "a", n=1), ask(1, "b", n=2)
    assert told((held, 1), (late, 2)) == [("a", "granted", "a", 3), ("b", "refused", "a", 3)]
    assert tasks((late, 2), (held, 1)) == tasks((held, 1))
    assert tasks((held, 1))[0]["n"] == 1


def test_the_holder_renews_and_nobody_else() -> None:
    """Renewing moves the end and the stamp, and keeps the fields of the granted record."""
    held, other, more = ask(1, "a", n=1), ask(2, "b", "renew"), ask(3, "a", "renew", n=2)
    assert told((held, 1), (other, 2), (more, 3)) == [
        ("a", "granted", "a", 3), ("b", "refused", "a", 3), ("a", "renewed", "a", 5),
    ]  # fmt: skip
    assert tasks((held, 1), (other, 2), (more, 3)) == [
        {"resource": "r", "n": 1, "holder": "a", "since": 1, "until": 5, "_stamp": stamp(more, 3)}
    ]
    assert told((held, 1), (ask(2, "a"), 1)) == [("a", "granted", "a", 3), ("a", "refused", "a", 3)]


def test_what_is_released_is_a_tombstone_until_it_is_granted_again() -> None:
    """Only the holder releases; then anybody is granted the resource, in the same close too."""
    held, other, gone = ask(1, "a", n=1), ask(2, "b", "release"), ask(3, "a", "release")
    assert told((held, 1), (other, 1), (gone, 1)) == [
        ("a", "granted", "a", 3), ("b", "refused", "a", 3), ("a", "released", None, None),
    ]  # fmt: skip
    end = stamp(gone, 3)
    assert tasks((held, 1), (gone, 1)) == [{"resource": "r", "_stamp": end, "_deleted": end}]
    early = ask(0, "b")
    assert told((held, 1), (gone, 1), (early, 2))[-1] == ("b", "granted", "b", 4)
    assert tasks((held, 1), (gone, 1), (early, 2)) == [
        {"resource": "r", "holder": "b", "since": 2, "until": 4, "_stamp": stamp(early, 0, "b")}
    ]


def test_a_claim_ends_after_its_last_frame() -> None:
    """Granted at the close of 1 for 2 frames it is held at the close of 3 and free at that of 4, but stays shown."""
    held, other = ask(1, "a"), ask(2, "b")
    assert told((held, 1), (other, 3))[-1] == ("b", "refused", "a", 3)
    assert told((held, 1), (other, 4))[-1] == ("b", "granted", "b", 6)
    assert told((held, 1), (ask(2, "a", "renew"), 3))[-1] == ("a", "renewed", "a", 5)
    assert told((held, 1), (ask(2, "a", "renew"), 4))[-1] == ("a", "refused", None, None)
    assert told((held, 1), (ask(2, "a", "release"), 4))[-1] == ("a", "refused", None, None)
    assert tasks((held, 1), (ask(2, "a", "renew"), 4)) == tasks((held, 1))


def test_an_unknown_operation_is_a_misfit() -> None:
    """It is kept like any other record that does not fit, and decides nothing."""
    odd = ask(1, "a", "steal")
    state = model([odd])["state"]
    assert state == {"extra/claims": [{"resource": "r", "op": "steal", "_stamp": stamp(odd, 1)}]}
    assert decisions([odd]) == []
