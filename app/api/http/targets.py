"""Request targets in absolute form, as clients send them to proxies."""

from typing import Any

import httptools


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """Return the path with its query, and the value of Host, of `http://host:port/path?query` (RFC 9112 §3.2.2).

    Raises ValueError for another form, and for a target with user information (RFC 9110 §4.2.4).
    """
    try:
        url: Any = httptools.parse_url(target)  # its types do not say that each part may be None
    except httptools.HttpParserInvalidURLError:
        raise ValueError("the target of the request is no absolute URL") from None
    if url.schema is None or url.schema.lower() not in {b"http", b"https"} or not url.host or url.userinfo:
        raise ValueError("the target of the request is no absolute URL of this service")
    host = b"[%b]" % url.host if b":" in url.host else url.host
    query = b"" if url.query is None else b"?" + url.query
    return (url.path or b"/") + query, host if url.port is None else b"%b:%d" % (host, url.port)
