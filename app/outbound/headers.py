"""Rules for request headers: which ones a caller may set, and which ones a redirect to another origin keeps."""

import re
from collections.abc import Mapping

from app.outbound.errors import InvalidRequest

MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e]*")

# Set by the client itself: they frame the request, name the host, or negotiate the response.
RESERVED = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The headers that a redirect to another origin keeps. A list of secret headers would miss some: Authorization and
# Cookie hold secrets, and so do X-Api-Key, Private-Token and others.
CROSS_ORIGIN = frozenset(
    {
        "accept",
        "accept-language",
        "cache-control",
        "content-language",
        "content-type",
        "if-modified-since",
        "if-none-match",
        "range",
        "user-agent",
    }
)


def checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by lower-case name. Raises InvalidRequest, which names the header but never its value."""
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise InvalidRequest(f"at most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} characters in all are allowed")
    result: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        if not NAME.fullmatch(name):
            raise InvalidRequest("a header name may contain only letters, digits and the signs that HTTP allows")
        if key in RESERVED or key.startswith("proxy-"):
            raise InvalidRequest(f"the header {key} is set by the service")
        if key in result:
            raise InvalidRequest(f"the header {key} is given twice")
        if not VALUE.fullmatch(value):
            raise InvalidRequest(f"the value of the header {key} is not printable ASCII")
        result[key] = value.strip("\t ")
    return result


def for_cross_origin(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may go to another origin."""
    return {name: value for name, value in headers.items() if name in CROSS_ORIGIN}


def without_body(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without those that describe a body."""
    return {name: value for name, value in headers.items() if not name.startswith("content-")}
