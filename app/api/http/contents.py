"""Answers with the content of a file or an artifact, whole or a range of it (RFC 9110 §14), as an attachment."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.api.http.responses import etag, not_modified
from app.db.session import SessionLocal
from app.errors import RangeNotSatisfiable
from app.models.stored_file import StoredFile
from app.services.files.contents import BINARY
from app.storage import key_of, storage

T = TypeVar("T")

_BYTES = {"schema": {"type": "string", "format": "binary"}}
# Generators of clients read the first, and know no ranges of types.
_CONTENT = {BINARY: _BYTES, "*/*": _BYTES}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes",
        "content": _CONTENT,
        "headers": {
            "ETag": {"description": "The SHA-256 of all bytes", "schema": {"type": "string"}},
            "Accept-Ranges": {"description": "`bytes`", "schema": {"type": "string"}},
        },
    },
    206: {"description": "The range that was asked for", "content": _CONTENT},
    304: {"description": "You have them: `If-None-Match` names the `ETag`"},
}
"""The answers of an endpoint that sends a content, beside its problems."""
# One range; several are answered with all of it, which RFC 9110 §14.2 allows. A longer text is no range: the pattern
# takes time that grows with the square of the spaces.
_MOST_CHARACTERS = 128
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,40})\s*-\s*(\d{0,40})\s*", re.ASCII | re.IGNORECASE)
_NOT_IN_TOKEN = re.compile(r"[^\x20-\x7e]|[\"\\%]")


def content_disposition(name: str) -> str:
    """Return a Content-Disposition that has a browser save the content under this name (RFC 6266)."""
    plain = _NOT_IN_TOKEN.sub("_", name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last; None for all. Raises RangeNotSatisfiable."""
    found = _RANGE.fullmatch(header) if header and len(header) <= _MOST_CHARACTERS else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, end = max(0, size - int(found[2])), size if int(found[2]) else 0
    else:
        first, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < first:
            return None  # no range at all
    if first >= end:
        raise RangeNotSatisfiable(size)
    return first, end


async def content_response(request: Request, found: StoredFile) -> Response:
    """Return the answer for this content. Raises StorageUnavailable, ContentMissing, RangeNotSatisfiable."""
    tag = etag(found.sha256 or "")
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(found.name),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if not_modified(request.headers.get("if-none-match"), found.sha256 or ""):
        return Response(status_code=304, headers=headers)
    wanted = None
    if request.headers.get("if-range", tag) == tag:
        wanted = byte_range(request.headers.get("range"), found.size)
    first, end = wanted or (0, found.size)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{found.size}"
    return await bytes_response(found, headers, first, end, 200 if wanted is None else 206)


async def bytes_response(
    found: StoredFile, headers: Mapping[str, str], first: int, end: int, status: int = 200
) -> Response:  # fmt: skip
    """Return an answer with the bytes of this content from `first` up to `end`.

    The first piece is read before the answer begins. Raises StorageUnavailable, ContentMissing.
    """
    pieces = storage().pieces_async(key_of(found.id), first, end)
    begun = await anext(pieces, b"")

    async def all_of_it() -> AsyncIterator[bytes | memoryview]:
        yield begun
        async for piece in pieces:
            yield piece

    # Not the media type of StreamingResponse, to which it adds a charset.
    named = {**headers, "Content-Length": str(end - first), "Content-Type": found.content_type}
    return StreamingResponse(all_of_it(), status, named)


async def in_session(call: Callable[..., T], *args: Any, **named: Any) -> T:
    """Call it with a session, in a thread: no connection is taken while bytes come or go."""

    def run() -> T:
        with SessionLocal() as db:
            return call(db, *args, **named)

    return await to_thread.run_sync(run)
