"""Sends pages and files compressed."""

import gzip

from fastapi import Request, Response

LEVEL = 6  # the default of zlib; that of gzip is 9


def compressed(request: Request, content: bytes, media_type: str, headers: dict[str, str], status: int) -> Response:
    """Return an answer with this content, compressed where the browser takes that."""
    headers = headers | {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers = gzip.compress(content, LEVEL, mtime=0), headers | {"Content-Encoding": "gzip"}
    return Response(content, status, headers, media_type)
