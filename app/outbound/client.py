"""Requests to URLs that users name, within the policy, the bounds and one deadline. No cookies, no proxy.

Which headers a caller may set, and which ones a redirect to another origin keeps, is told here, too.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

import certifi
import httpcore

from app.core.config import get_settings
from app.errors import Text
from app.outbound.answer import Answer, WholeAnswer
from app.outbound.connections import Connection, Connections
from app.outbound.errors import Interrupted, InvalidRequest, NotConnected, RedirectRefused, Stale
from app.outbound.network import Deadline, GuardedBackend, Resolve, StepTimeouts, resolve_host
from app.outbound.targets import Policy, Target, joined_url, parse_url

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SEE_OTHER = 303
KEEP_THE_METHOD = frozenset({307, 308})


@dataclass(frozen=True)
class Bounds:
    """The limits of one request, its redirects included.

    Bytes are counted both before and after decompression.
    """

    seconds: float = 60
    connect_seconds: float = 10
    read_seconds: float = 30
    max_bytes: int = 10 * 1024 * 1024
    max_redirects: int = 5


@dataclass(frozen=True)
class Request:
    """A checked request: the next one to send."""

    method: str
    target: Target
    headers: Mapping[str, str]
    content: bytes | None


class Client:
    """Sends requests. Safe to share between threads.

    It keeps nothing between requests, unless it gets `connections`. Then a request is sent again, on a new connection,
    where the server closes a kept one without an answer: it may get such a request twice.
    `resolve` and `tls` are for tests: another resolver, another set of trusted certificates.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        bounds: Bounds | None = None,
        *,
        resolve: Resolve = resolve_host,
        tls: Callable[[], ssl.SSLContext] | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.policy = Policy.of(get_settings()) if policy is None else policy
        self.bounds = bounds or Bounds()
        self._resolve, self._tls = resolve, tls or default_tls
        self.connections = connections or Connections(most=0)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> WholeAnswer:
        """Return the whole response, in memory. Raises OutboundError. Any status counts as a response."""
        with self.stream(method, url, headers=headers, content=content) as answer:
            return answer.whole()

    @contextmanager
    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Iterator[Answer]:
        """Yield the response with its content not yet read. Follows redirects. Raises OutboundError."""
        request = _request(method, url, headers or {}, content)
        deadline = Deadline(self.bounds.seconds)
        for redirects in range(self.bounds.max_redirects + 1):
            with self._exchange(request, deadline, redirects) as answer:
                redirected = _redirected(request, answer) if self.bounds.max_redirects else None
                if redirected is None:
                    yield answer
                    return
            request = redirected
        raise RedirectRefused(f"more than {self.bounds.max_redirects} redirects")

    @contextmanager
    def _exchange(self, request: Request, deadline: Deadline, redirects: int) -> Iterator[Answer]:
        with _translated(), ExitStack() as stack:
            response = self._answered(stack, request, deadline)
            yield Answer(response, request.target.url, redirects, self.bounds.max_bytes)

    def _answered(self, stack: ExitStack, request: Request, deadline: Deadline) -> httpcore.Response:
        kept = self.connections.take(request.target.origin)
        if kept is not None:
            with suppress(Stale):  # the server has closed it meanwhile: a new one is made
                return self._sent(stack, request, kept, deadline)
        return self._sent(stack, request, self._connection(request.target), deadline)

    def _connection(self, target: Target) -> Connection:
        timeouts = StepTimeouts(self.bounds.connect_seconds, self.bounds.read_seconds)
        backend = GuardedBackend(self.policy, self._resolve, timeouts)
        tls = self._tls() if target.scheme == "https" else None
        origin = _url_of(target).origin
        return Connection(httpcore.HTTPConnection(origin, ssl_context=tls, network_backend=backend), backend)

    def _sent(
        self, stack: ExitStack, request: Request, connection: Connection, deadline: Deadline
    ) -> httpcore.Response:  # fmt: skip
        """Return the response with its content not yet read; the connection is kept or closed with the stack."""
        target = request.target
        headers = {"host": target.authority, "user-agent": "task-service", "accept": "*/*", "accept-encoding": "gzip"}
        headers |= request.headers
        if self.connections.most == 0:
            headers["connection"] = "close"
        stack.callback(self.connections.keep, target.origin, connection)
        connection.backend.begin(deadline)
        exchange = connection.http.stream(
            request.method, _url_of(target), headers=list(headers.items()), content=request.content
        )
        response = stack.enter_context(exchange)
        connection.backend.end_head()
        return response


def _url_of(target: Target) -> httpcore.URL:
    return httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)


def default_tls() -> ssl.SSLContext:
    """Return a TLS context that trusts this machine's certificates (SSL_CERT_FILE), or certifi's if it has none."""
    paths = ssl.get_default_verify_paths()
    return ssl.create_default_context(cafile=None if paths.cafile or paths.capath else certifi.where())


def _request(method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Request:
    if method not in METHODS:
        raise InvalidRequest(Text("the method must be one of {}", ", ".join(sorted(METHODS))))
    if content is None and method in WITH_BODY:
        content = b""  # sends Content-Length: 0, which servers expect of these methods
    return Request(method, parse_url(url), checked_headers(headers), content)


def _redirected(request: Request, answer: Answer) -> Request | None:
    """Return the request that a redirect asks for, or None if the response is no redirect. Raises RedirectRefused."""
    location = answer.headers.get("location")
    if answer.status not in REDIRECTS or not location:
        return None
    try:
        target = joined_url(request.target, location)
    except InvalidRequest as error:
        raise RedirectRefused(f"{request.target.origin} redirects to a URL that cannot be requested: {error}") from None
    if request.target.scheme == "https" and target.scheme == "http":
        raise RedirectRefused(f"{request.target.origin} redirects to plain http")
    following = replace(request, target=target)
    if answer.status == SEE_OTHER and request.method != "HEAD":
        following = _as_get(following)
    elif answer.status not in KEEP_THE_METHOD and request.method == "POST":
        following = _as_get(following)  # as browsers do
    if target.origin != request.target.origin:
        following = replace(following, headers=cross_origin_headers(following.headers))
    return following


def _as_get(request: Request) -> Request:
    return replace(request, method="GET", content=None, headers=headers_without_body(request.headers))


@contextmanager
def _translated() -> Iterator[None]:
    """Translate httpcore's errors. `from None`, because they quote the server's response."""
    try:
        yield
    except httpcore.LocalProtocolError:
        raise InvalidRequest("this request cannot be sent") from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        raise NotConnected("the connection failed") from None
    except (httpcore.RemoteProtocolError, httpcore.NetworkError, httpcore.TimeoutException):
        raise Interrupted("the server sent no complete and valid HTTP response") from None


# -- Rules for request headers: which ones a caller may set, and which ones a redirect to another origin keeps ---------

MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")

# Set by the client itself: they frame the request, name the host, or negotiate the response.
RESERVED_HEADERS = frozenset(
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
CROSS_ORIGIN_HEADERS = frozenset(
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


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by lower-case name. Raises InvalidRequest, which names the header but never its value."""
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise InvalidRequest(
            Text("at most {} headers with {} characters in all are allowed", MAX_HEADERS, MAX_HEADER_BYTES)
        )
    result: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        if not HEADER_NAME.fullmatch(name):
            raise InvalidRequest("a header name may contain only letters, digits and the signs that HTTP allows")
        if key in RESERVED_HEADERS or key.startswith("proxy-"):
            raise InvalidRequest(Text("the header {} is set by the service", key))
        if key in result:
            raise InvalidRequest(Text("the header {} is given twice", key))
        if not HEADER_VALUE.fullmatch(value):
            raise InvalidRequest(Text("the value of the header {} is not printable ASCII", key))
        result[key] = value.strip("\t ")
    return result


def cross_origin_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may go to another origin."""
    return {name: value for name, value in headers.items() if name in CROSS_ORIGIN_HEADERS}


def headers_without_body(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without those that describe a body."""
    return {name: value for name, value in headers.items() if not name.startswith("content-")}
