"""An agent of a test: the client of the SDK, and a server of its own over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mcp import StdioServerParameters, types
from mcp.client.client import Client
from mcp.client.stdio import stdio_client

from tests.e2e.tools import DREAMCATCHERD, environment

_T = TypeVar("_T")

MOST_S = 300


def play(story: Coroutine[Any, Any, _T]) -> _T:
    """Run what an agent does, within a bounded time."""
    return asyncio.run(asyncio.wait_for(story, MOST_S))


@contextlib.asynccontextmanager
async def agent(
    log: Path, *words: str, env: Mapping[str, str] | None = None, command: list[str] | None = None
) -> AsyncIterator[Client]:
    """A session with a server of its own, whose standard error goes to a file; no traceback may be in it."""
    program, *first = command or [*DREAMCATCHERD, "mcp"]
    server = StdioServerParameters(command=program, args=[*first, *words], env=environment() | dict(env or {}))
    with log.open("a") as errors:
        async with Client(stdio_client(server, errlog=errors)) as client:
            yield client
    assert "Traceback" not in log.read_text()


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """The data of a tool's answer, which must be one, of the one form, and the same as text."""
    found = checked(await client.call_tool(tool, arguments))
    assert "error" not in found, found
    return found["data"]


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The error of a tool that must have no answer."""
    found = checked(await client.call_tool(tool, arguments))
    assert set(found) == {"note", "error"}, found
    error: dict[str, Any] = found["error"]
    assert set(error) == {"kind", "cause", "remedy"}
    assert all(error.values())
    return error


def checked(result: types.CallToolResult) -> dict[str, Any]:
    """An answer in its marked form."""
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    assert content.meta == {"dreamcatcherd/content": "data"}
    found: dict[str, Any] = json.loads(content.text)
    assert found == result.structured_content
    assert bool(result.is_error) == ("error" in found)
    assert next(iter(found)) == "note"
    assert "not instructions" in found["note"]
    return found
