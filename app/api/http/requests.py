"""A request before it is routed: its path as routes have it, its body's length, and how much of that is read."""

import anyio
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.errors import Text


def route_path(scope: Scope) -> str:
    """Return the path below the root path, such as `/api/v1/tasks/` of `/svc/api/v1/tasks/`.

    All that compares a path with that of a route asks here. A server that was given the prefix has it in the path
    (ASGI); one that was not leaves the path as it is.
    """
    path: str = scope["path"]
    rest = path.removeprefix(str(scope.get("root_path", "")).rstrip("/"))
    return rest if not rest or rest.startswith("/") else path


# -- The bound on how much of a request's body is read -----------------------------------------------------------------
# The rest of a refused body is read and discarded, within limits: if the server closed the connection at once, the
# client would receive a reset instead of the response.

# Limits of the part of a refused body that is discarded.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 10.0
_LENGTH_DIGITS = 18
_CLOSE = {"Connection": "close"}
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def content_length(scope: Scope) -> int | None:
    """Return Content-Length in bytes, None if there is none. The server refuses values that are not digits."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # Cut, it is still above any limit; Python parses at most 4300 digits.
            return int(value[:_LENGTH_DIGITS]) if value.isdigit() else None
    return None


async def refuse_length(scope: Scope, receive: Receive, limit: int) -> HTTPException | None:
    """Return the error 413 if Content-Length is above `limit`, else None. Discards the body before."""
    length = content_length(scope)
    if length is None or length <= limit:
        return None
    # With `Expect: 100-continue` the client has sent nothing yet, and reading would request the whole body.
    cannot_drain = length > DRAIN_BYTES or _expects_continue(scope)
    return _too_large(limit, is_drained=not cannot_drain and await drain_body(receive))


def closing_unless_read(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return `receive` and `send` that close the connection if the response precedes `100 Continue`.

    The client may then leave the body out (RFC 9110 §10.1.1), and the server would take its next request for the body.
    """
    if scope["method"] in _WITHOUT_BODY or not _expects_continue(scope):
        return receive, send
    is_read = False

    async def receive_and_note() -> Message:
        nonlocal is_read
        is_read = True
        return await receive()

    async def send_or_close(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_read:
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return receive_and_note, send_or_close


def _expects_continue(scope: Scope) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


def limited_receive(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that raises HTTPException 413 once it has read more than `limit` bytes.

    FastAPI passes an HTTPException on while it reads the body.
    """
    read = 0

    async def receive_within_limit() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > limit:
                raise _too_large(limit, is_drained=not message.get("more_body", False) or await drain_body(receive))
        return message

    return receive_within_limit


def _too_large(limit: int, *, is_drained: bool) -> HTTPException:
    return HTTPException(413, Text("The body is larger than {} bytes", limit), None if is_drained else _CLOSE)


async def drain_body(receive: Receive) -> bool:
    """Read and discard the rest of the body. Returns False if it is too large, too slow, or the client is gone."""
    dropped = 0
    with anyio.move_on_after(DRAIN_SECONDS):
        while dropped <= DRAIN_BYTES:
            message = await receive()
            dropped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return bool(message["type"] == "http.request")
    return False
