"""uvicorn's HTTP protocol, completed by what HTTP/1.1 asks of a server (RFC 9110, RFC 9112).

uvicorn 0.54 loses the body of a request with `Upgrade` and all requests after it, refuses a target in absolute form
without a path and believes its Host header, adds the trailers of a body to the fields of the head, and sends `100
Continue` to HTTP/1.0 clients. `curl --http2` and Java's HttpClient send `Upgrade: h2c` with every first request.
"""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MALFORMED = "The request is no HTTP/1.1, or its target is neither a path nor an absolute URL"
_NO_PROXY = "The service is no proxy: CONNECT is not supported"


class StandardHttp(HttpToolsProtocol):
    """One connection. `_receiving` is set while the head of a request is complete and its body is not."""

    url = b""
    _receiving = False
    _upgrades = False

    def _parse(self, data: bytes) -> bytes:
        """Parse, and return what must be parsed again: a head without its `Upgrade`, and all after it."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse_malformed()
        return b""

    def _ignore_upgrade(self, rest: bytes) -> bytes:
        """Start anew with the head without its `Upgrade` (RFC 9110 §7.8): after one, the parser reads no more HTTP."""
        self._upgrades = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(400, _NO_PROXY)
            return b""
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"".join([*head, b"\r\n", rest])

    def _refuse_malformed(self) -> None:
        self._refuse(400, _MALFORMED)

    def _refuse(self, status: int, detail: str) -> None:
        raise NotImplementedError

    # Callbacks of the parser

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrades = True  # the parser stops behind the head
            return
        if not self.url.startswith(b"/"):
            # RFC 9112 §3.2.2: the target's host counts, not the header.
            self.url, host = split_absolute(self.url)
            self.headers[:] = [(b"host", host), *(header for header in self.headers if header[0] != b"host")]
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110 §10.1.1
        super().on_headers_complete()
        self.headers = []  # trailers do not join the fields of the head (RFC 9110 §6.5.1)
        self._receiving = True

    def on_message_complete(self) -> None:
        if not self._upgrades:
            self._receiving = False
            super().on_message_complete()


# -- Request targets in absolute form, as clients send them to proxies -------------------------------------------------


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
