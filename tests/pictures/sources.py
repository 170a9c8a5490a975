"""Where the sources of the pictures are, and which of them are made from data: the life of a frame from its table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dreamcatcherd.core.frames import LIFE, RULES_WITH_DEADLINE, SPEAKS, STATES, LifeCause, LifeState, Transition

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

SHOTS = {"light": "status-page.png", "dark": "status-page-dark.png"}
"""Pictures of the status page by look, which `make screenshots` draws in a browser."""

_WIDTH, _GAP = 162.0, 84.0
_SHORT: dict[LifeCause, str] = {"rule": "rule", "deadline": "deadline", "grace": "grace", "publication": "published"}
"""What stands at an arrow between two boxes: the space is narrow."""

_REMARKS = {
    264: "* These rules wait for somebody. If nobody\ncomes, the frame is over after its deadline.",
    314: "Grace leaves time for stragglers.",
    344: "By hand, a frame can be closed at any time:\nclose, merge, or SIGUSR1 to the daemon.",
}
"""What else is said, by height."""

_KINDS: dict[LifeState, str] = {"open": "plain", "over": "amber", "due": "amber", "closed": "green"}


def sources() -> list[Path]:
    """The sources of all pictures."""
    return sorted(PICTURES.glob("*.toml"))


def frame_life() -> str:
    """The source of the picture of a frame's life."""
    left = {state: 24 + at * (_WIDTH + _GAP) for at, state in enumerate(STATES)}
    out = [
        "# Made by `make pictures` from LIFE, STATES and SPEAKS of dreamcatcherd/core/frames.py: do not edit.",
        'title = "The life of a frame"',
        f"desc = {_quoted(_description())}",
        "size = [960, 402]",
    ]
    for state, holds in STATES.items():
        first, second = _halves(holds)
        out += ["[[box]]", f'id = "{state}"', f'kind = "{_KINDS[state]}"', f'title = "{state}"']
        out += [f"lines = [{_quoted(first)}, {_quoted(second)}]"]
        out += [f"at = [{left[state]:g}, 72]", f"size = [{_WIDTH:g}, 92]"]
    for step in LIFE:
        out += _step(step, left[step.source])
    turn = f"dashed = true\nvia = [[{left['closed'] + _WIDTH / 2:g}, 198], [{left['open'] + _WIDTH / 2:g}, 198]]"
    out += _arrow("closed:bottom", "open:bottom", "the next frame is open", (480, 190), turn)
    out += _note((24, 238), "The closing rule speaks", "name")
    for at, (rule, when) in enumerate(SPEAKS.items()):
        y = 264 + 22 * at
        out += _note((24, y), rule, "mono") + _note((108, y), when + (" *" if rule in RULES_WITH_DEADLINE else ""))
    for y, text in _REMARKS.items():
        out += _note((568, y), text)
    return "\n".join(out) + "\n"


def _step(step: Transition, x: float) -> list[str]:
    """The arrow of a step whose source is at x. Of two steps between the same states one goes above the other."""
    if step.source == step.target:
        at = (x + _WIDTH / 2, 30)
        return _arrow(f"{step.source}:top-24", f"{step.target}:top+24", step.says, at, "curve = [-8, -36, 8, -36]")
    same = [one.cause for one in LIFE if one[:2] == step[:2]]
    down = 0 if len(same) == 1 else (-12, 26)[same.index(step.cause)]
    label_y = 110 + down if down <= 0 else 134 + down
    more = "dashed = true" if down > 0 else ""
    at = (x + _WIDTH + _GAP / 2, label_y)
    return _arrow(f"{step.source}:right{down:+d}", f"{step.target}:left{down:+d}", _SHORT[step.cause], at, more)


def _description() -> str:
    """All that the picture shows, for people who do not see it."""
    states = "; ".join(f"{state}: {holds}" for state, holds in STATES.items())
    moves = [f"{step.source} to {step.target}: {step.says}" for step in LIFE if step.source != step.target]
    stays = [f"still {step.source}, {step.says}" for step in LIFE if step.source == step.target]
    steps = "; ".join(moves + stays)
    rules = "; ".join(f"{rule}, {when}" for rule, when in SPEAKS.items())
    return (
        f"States. {states}. Steps. {steps}. The next frame is open from then on. When the closing rule speaks. {rules}."
    )


def _arrow(start: str, end: str, label: str, at: tuple[float, float], more: str = "") -> list[str]:
    lines = ["[[arrow]]", f'from = "{start}"', f'to = "{end}"', f"label = {_quoted(label)}"]
    return [*lines, f"label_at = [{at[0]:g}, {at[1]:g}]", *([more] if more else [])]


def _note(at: tuple[float, float], text: str, style: str = "small") -> list[str]:
    return ["[[note]]", f"at = [{at[0]:g}, {at[1]:g}]", f'style = "{style}"', f"text = {_quoted(text)}"]


def _halves(text: str) -> tuple[str, str]:
    """A text on two lines of about the same length."""
    spaces = [at for at, letter in enumerate(text) if letter == " "]
    cut = min(spaces, key=lambda at: abs(at - len(text) / 2))
    return text[:cut], text[cut + 1 :]


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


GENERATED: dict[str, Callable[[], str]] = {"frame-life.toml": frame_life}
"""Sources that are made from data of the package, by file name."""
