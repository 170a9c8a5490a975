"""The shortest script that still breaks a promise: actions, what happens within steps, and what is special of them are
dropped while the failure remains."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import structs

from tests.simulation.actions import Action, Push, Script, Setting, Step

Fails = Callable[[Script], bool]


def shrink(script: Script, fails: Fails) -> Script:
    """A script that `fails` and of which nothing can be dropped without that it stops to."""
    while True:
        before = script
        script = structs.replace(script, actions=_minimal(script, fails))
        script = _simpler(script, fails)
        if script == before:
            return script


def _minimal(script: Script, fails: Fails) -> list[Action]:
    """Delta debugging: drop ever smaller parts of the list of actions."""
    actions, parts = script.actions, 2
    while len(actions) >= 1:
        size = max(1, len(actions) // parts)
        shorter = next(
            (
                kept
                for start in range(0, len(actions), size)
                if fails(structs.replace(script, actions=(kept := actions[:start] + actions[start + size :])))
            ),
            None,
        )
        if shorter is not None:
            actions, parts = shorter, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(len(actions), 2 * parts)
    return actions


def _simpler(script: Script, fails: Fails) -> Script:
    """The script with each action, and the setting, as simple as it may be."""
    for at in range(len(script.actions)):
        for simpler in _variants(script.actions[at]):
            tried = structs.replace(script, actions=[*script.actions[:at], simpler, *script.actions[at + 1 :]])
            if fails(tried):
                script = tried
                break
    plain = Setting()
    for name in Setting.__struct_fields__:
        changed = structs.replace(script.setting, **{name: getattr(plain, name)})
        if changed != script.setting and fails(tried := structs.replace(script, setting=changed)):
            script = tried
    return script


def _variants(action: Action) -> Iterator[Action]:
    """Simpler forms of one action."""
    if isinstance(action, Step):
        if action.at:
            yield structs.replace(action, at={})
        for point, during in action.at.items():
            rest = {name: some for name, some in action.at.items() if name != point}
            yield structs.replace(action, at=rest)
            for at in range(len(during)):
                if len(during) > 1:
                    yield structs.replace(action, at={**rest, point: [*during[:at], *during[at + 1 :]]})
                for inner in _variants(during[at]):
                    yield structs.replace(action, at={**rest, point: [*during[:at], inner, *during[at + 1 :]]})
    elif isinstance(action, Push):
        plain = Push(action.delta)
        if action != plain:
            yield plain
        for name in ("ahead", "base", "date_s", "fate", "malformed", "stream", "to"):
            changed = structs.replace(action, **{name: getattr(plain, name)})
            if changed != action:
                yield changed
