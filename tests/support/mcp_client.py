"""The endpoint `/mcp` as the official SDK's own client uses it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from tests.support.running import Running

Result = TypeVar("Result")
# The current revision of the protocol, and the one before, in which a client begins with a handshake.
MODES = ("auto", "legacy")
BOTH_SCOPES = ("tasks:read", "tasks:write")


def new_key(running: Running, *scopes: str, token: str | None = None) -> str:
    """A key of the user of `running`, or of the one with this token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {"name": "mcp", "scopes": [*(scopes or BOTH_SCOPES)]}
    answer = running.http.post("/api/v1/auth/api-keys", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def ask(running: Running, key: str, talk: Callable[[Client], Awaitable[Result]], mode: str = "auto") -> Result:
    """What comes of this talk with the endpoint."""

    async def connect() -> Result:
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(f"{running.stack.url}/mcp", http_client=http), mode=mode) as client,
        ):
            return await talk(client)

    return asyncio.run(connect())


def call(running: Running, key: str, tool: str, /, *, mode: str = "auto", **arguments: Any) -> CallToolResult:
    """The answer to one call of a tool."""
    return ask(running, key, lambda client: client.call_tool(tool, arguments), mode)
