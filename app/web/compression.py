"""Sends pages and files compressed, to browsers that take that."""

import gzip
import re

from fastapi import Request, Response

LEVEL = 6  # the default of zlib; that of gzip is 9
# A coding and its weight (RFC 9110 §12.4.2).
_CODING = re.compile(r"([!#$%&'*+.^_`|~\w-]+)(?:[ \t]*;[ \t]*q=([01](?:\.[0-9]{0,3})?))?", re.ASCII | re.IGNORECASE)


def compressed(request: Request, content: bytes, media_type: str, headers: dict[str, str], status: int) -> Response:
    """Return an answer with this content, compressed where the browser takes that."""
    headers = headers | {"Vary": "Accept-Encoding"}
    if prefers_gzip(",".join(request.headers.getlist("accept-encoding"))):
        content, headers = gzip.compress(content, LEVEL, mtime=0), headers | {"Content-Encoding": "gzip"}
    return Response(content, status, headers, media_type)


def prefers_gzip(accept_encoding: str) -> bool:
    """Return whether Accept-Encoding (RFC 9110 §12.5.3) takes gzip, and the plain content not rather.

    An entry of another form says nothing.
    """
    found = (_CODING.fullmatch(part.strip(" \t")) for part in accept_encoding.split(","))
    weights = {match[1].lower(): float(match[2] or 1) for match in found if match}
    others = weights.get("*", 0)
    gzipped = weights.get("gzip", weights.get("x-gzip", others))
    return gzipped > 0 and gzipped >= weights.get("identity", 0)
