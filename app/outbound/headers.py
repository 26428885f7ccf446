"""Headers of a request: what a caller may set, and what goes along to another origin."""

import re
from collections.abc import Mapping

from app.outbound.errors import InvalidRequest

MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e]*")

# Ours to say: they frame the request, name the host, or decide how the answer comes.
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
# All that a redirect to another origin takes along. Secrets stand in Authorization and Cookie, but also in X-Api-Key,
# Private-Token and whatever else somebody thought of.
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
    """By lower-case name. Raises InvalidRequest, naming the header and never its value."""
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise InvalidRequest(f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} characters together can be sent")
    result: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        if not NAME.fullmatch(name):
            raise InvalidRequest("a header's name has letters, digits and a few signs only")
        if key in RESERVED or key.startswith("proxy-"):
            raise InvalidRequest(f"the header {key} is set by the service")
        if key in result:
            raise InvalidRequest(f"the header {key} is given twice")
        if not VALUE.fullmatch(value):
            raise InvalidRequest(f"the value of the header {key} is not printable ASCII")
        result[key] = value.strip("\t ")
    return result


def for_cross_origin(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in CROSS_ORIGIN}


def without_body(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith("content-")}
