"""How a repository is reached, in every table that names one, and two such tables: upstream of a relay, and mirrors."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_MIRROR = r"^[a-z0-9][a-z0-9-]{0,39}$"
_MIRROR_FORM = "1 to 40 of a-z, 0-9 and -, such as north"
"""What errors say of a name that does not match."""


Retry = Annotated[
    float,
    Meta(ge=0.1, le=3600, description="maximum seconds between two attempts after failures; they grow from 1"),
]
"""A table's `retry`; each has a default of its own."""


class RemoteKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a repository is reached: the keys that every table with a URL has."""

    timeout: Annotated[
        float, Meta(ge=0.1, le=3600, description="time limit of every network operation, in seconds")
    ] = 30.0
    user: Annotated[str | None, Meta(description="user name for http; for ssh it is part of the URL")] = None
    token_file: Annotated[str | None, Meta(description="password or token for http, on its first line")] = None
    ssh_key: Annotated[
        str | None, Meta(description="private key without passphrase; default: the keys of the ssh agent")
    ] = None
    known_hosts: Annotated[
        str | None, Meta(description="default: `~/.ssh/known_hosts`; an unknown host is always refused")
    ] = None
    ca_file: Annotated[str | None, Meta(description="certificates to trust in place of the system's, PEM")] = None


class RelayConfig(RemoteKeys, frozen=True, forbid_unknown_fields=True):
    """A relay: the repository is a copy of the one upstream, and what workers push to it is forwarded there.

    A relay closes no frames. Its commits upstream are signed with `[repository] signing_key`. Files that are not named
    here are looked for in `$CREDENTIALS_DIRECTORY`, as `relay_token`, `relay_ssh_key`, `relay_known_hosts` or
    `relay_ca_file`."""

    upstream: Annotated[
        str | None,
        Meta(
            description="the repository that decides: a path, or file://, git://, http(s)://, ssh:// or user@host:path"
        ),
    ] = None
    name: Annotated[
        str | None,
        Meta(description="the relay's name, listed upstream in `[lanes] relays`; it pushes to `dc-relay/<name>`"),
    ] = None
    poll: Annotated[
        float, Meta(ge=0.05, le=3600, description="seconds between two looks at upstream; each pushes once at most")
    ] = 1.0
    retry: Retry = 60.0


class MirrorConfig(RemoteKeys, frozen=True, forbid_unknown_fields=True):
    """A mirror of the repository: one table for each. Its lanes are read too, and publications are copied there.

    `[repository]` decides; a mirror never does. Credential files that are not named here are looked for in
    `$CREDENTIALS_DIRECTORY`, as `mirror_<name>_token`, `mirror_<name>_ssh_key`, `mirror_<name>_known_hosts` or
    `mirror_<name>_ca_file`.

    `DREAMCATCHERD_MIRRORS='[{name = "north", url = "https://…"}]'` in the environment overrides all of them."""

    name: Annotated[
        str, Meta(pattern=_MIRROR, title=_MIRROR_FORM, description="its name in metrics, ledgers and messages")
    ]
    url: Annotated[
        str, Meta(min_length=1, description="a path, or file://, git://, http(s)://, ssh:// or user@host:path")
    ]
    intake: Annotated[bool, Meta(description="deltas are read from its lanes and its shared branch")] = True
    publish: Annotated[bool, Meta(description="publications are copied there, and merged lanes deleted")] = True
    poll: Annotated[float, Meta(ge=0.05, le=3600, description="seconds between two looks at it")] = 5.0
    retry: Retry = 60.0
