"""Opaque places in lists: bytes as text that needs no escaping in a URL. Clients hand them back as they are."""

from __future__ import annotations

import base64
import binascii


def write_opaque(raw: bytes) -> str:
    """Bytes as opaque text."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_opaque(text: str) -> bytes:
    """The bytes of an opaque text; ValueError if it is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(f"not an opaque place: {error}") from error
