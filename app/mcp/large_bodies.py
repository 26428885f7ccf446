"""Large bodies of `POST /mcp`: calls of tasks, whose arguments the SDK does not see.

The SDK parses and validates a body in the event loop, and keeps what it has parsed until the call is answered, which
takes some 35 times the bytes. So a large body is parsed in the thread for large JSON, one of each user at a time. The
SDK gets the call without its arguments. The tool takes these from the request, and forgets them once the task is there.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import anyio
from fastapi import HTTPException

from app.core.fair_threads import LOOK_SECONDS, CallerGone
from app.core.json_text import MAX_VALUES, SMALL_BYTES, has_more_values, load_json
from app.errors import InvalidInput
from app.mcp.tools import RESERVED

# The key in the state of a request of its LargeArguments, if it has any.
LARGE_ARGUMENTS = "mcp_large_arguments"


class LargeArguments:
    """The arguments of one call, until a task has been made of them. `forget` also ends the turn of the user."""

    def __init__(self, end_turn: Callable[[], None]) -> None:
        self.given: Mapping[str, Any] | None = None
        self._end_turn: Callable[[], None] | None = end_turn

    def forget(self) -> None:
        """Forget them. The user's next large call begins. May be called again."""
        self.given = None
        if self._end_turn is not None:
            self._end_turn()
            self._end_turn = None


class UserTurns:
    """Lets each user have one large call in progress. Belongs to one event loop."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def begin(self, user: UUID, is_gone: Callable[[], Awaitable[bool]]) -> tuple[LargeArguments, bool]:
        """Return what the call is to put its arguments in, and whether it waited. Raises CallerGone."""
        lock = self._locks.setdefault(user, asyncio.Lock())
        has_waited = lock.locked()
        while True:
            with anyio.move_on_after(LOOK_SECONDS):
                await lock.acquire()
                return LargeArguments(lock.release), has_waited
            if await is_gone():
                raise CallerGone


def without_arguments(body: bytes) -> tuple[bytes, Mapping[str, Any]]:
    """Return the body of the call without its arguments, and these.

    Raises InvalidInput for what is no call, or has too many values, and HTTPException 413 for another request.
    """
    if has_more_values(body, MAX_VALUES):
        raise _refused(f"The body has more than {MAX_VALUES} JSON values", "too_many_values")
    try:
        message = load_json(body)
    except ValueError as error:
        raise _refused(f"is not JSON: {error}", "json_invalid") from None
    params = message.get("params") if isinstance(message, dict) else None
    if not isinstance(params, dict) or message.get("jsonrpc") != "2.0" or "id" not in message:
        raise _refused("is no request of JSON-RPC with parameters", "invalid_request")
    arguments = params.pop("arguments", None)
    rest = "" if message.get("method") != "tools/call" or params.get("name") in RESERVED else _small_json(message)
    if not rest:
        raise HTTPException(413, f"The body is larger than {SMALL_BYTES} bytes without the arguments of a task")
    if not isinstance(arguments, dict):
        raise _refused("the arguments are no object", "invalid_request")
    return rest.encode(), arguments


def _small_json(message: Any) -> str:
    """Return the JSON text, "" for one of more than SMALL_BYTES, of which no more is made."""
    text = ""
    for piece in json.JSONEncoder().iterencode(message):
        text += piece
        if len(text) > SMALL_BYTES:
            return ""
    return text


def _refused(message: str, kind: str) -> InvalidInput:
    return InvalidInput(errors=[{"loc": [], "msg": message, "type": kind}])
