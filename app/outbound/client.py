"""Requests to URLs that users name: within the policy, the bounds and one deadline; no cookies, no proxy, no reuse."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import certifi
import httpcore

from app.core.config import get_settings
from app.outbound import headers as header_rules
from app.outbound.answer import Answer, WholeAnswer
from app.outbound.errors import Interrupted, InvalidRequest, NotConnected, RedirectRefused
from app.outbound.network import Deadline, GuardedBackend, Resolve, StepTimeouts, resolve
from app.outbound.policy import Policy
from app.outbound.urls import Target, joined, parse

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SEE_OTHER = 303
KEEP_THE_METHOD = frozenset({307, 308})


@dataclass(frozen=True)
class Bounds:
    """Of one request, its redirects included. Bytes are counted after decompression as well as before it."""

    seconds: float = 60
    connect_seconds: float = 10
    read_seconds: float = 30
    max_bytes: int = 10 * 1024 * 1024
    max_redirects: int = 5


@dataclass(frozen=True)
class Request:
    method: str
    target: Target
    headers: Mapping[str, str]
    content: bytes | None


class Client:
    """Keeps nothing between requests: each is checked, connected and closed by itself. Safe to share by threads.

    `resolve` and `tls` are for tests: another resolver, another set of trusted certificates.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        bounds: Bounds | None = None,
        *,
        resolve: Resolve = resolve,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.policy = Policy.of(get_settings()) if policy is None else policy
        self.bounds = bounds or Bounds()
        self._resolve, self._tls = resolve, tls or default_tls

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> WholeAnswer:
        """The whole answer, in memory. Raises OutboundError; any status is an answer."""
        with self.stream(method, url, headers=headers, content=content) as answer:
            return answer.whole()

    @contextmanager
    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Iterator[Answer]:
        """The same with the content still to be read. Redirects have been followed."""
        request = _request(method, url, headers or {}, content)
        deadline = Deadline(self.bounds.seconds)
        for redirects in range(self.bounds.max_redirects + 1):
            with self._exchange(request, deadline, redirects) as answer:
                following = _following(request, answer) if self.bounds.max_redirects else None
                if following is None:
                    yield answer
                    return
            request = following
        raise RedirectRefused(f"more than {self.bounds.max_redirects} redirects")

    @contextmanager
    def _exchange(self, request: Request, deadline: Deadline, redirects: int) -> Iterator[Answer]:
        target = request.target
        timeouts = StepTimeouts(self.bounds.connect_seconds, self.bounds.read_seconds)
        backend = GuardedBackend(self.policy, self._resolve, deadline, timeouts)
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        tls = self._tls() if target.scheme == "https" else None
        headers = {"host": target.authority, "user-agent": "task-service", "accept": "*/*", "accept-encoding": "gzip"}
        sent = list((headers | dict(request.headers) | {"connection": "close"}).items())
        with (
            _translated(),
            httpcore.HTTPConnection(url.origin, ssl_context=tls, network_backend=backend) as connection,
            connection.stream(request.method, url, headers=sent, content=request.content) as response,
        ):
            backend.head_is_in()
            yield Answer(response, target.url, redirects, self.bounds.max_bytes)


def default_tls() -> ssl.SSLContext:
    """Trusts what this machine trusts (SSL_CERT_FILE names others), or certifi's list where it has none."""
    paths = ssl.get_default_verify_paths()
    return ssl.create_default_context(cafile=None if paths.cafile or paths.capath else certifi.where())


def _request(method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Request:
    if method not in METHODS:
        raise InvalidRequest(f"the method is one of {', '.join(sorted(METHODS))}")
    if content is None and method in WITH_BODY:
        content = b""  # says Content-Length: 0, which servers want of these
    return Request(method, parse(url), header_rules.checked(headers), content)


def _following(request: Request, answer: Answer) -> Request | None:
    """What a redirect asks for next; None where the answer is none. Raises RedirectRefused."""
    location = answer.headers.get("location")
    if answer.status not in REDIRECTS or not location:
        return None
    try:
        target = joined(request.target, location)
    except InvalidRequest as error:
        raise RedirectRefused(f"{request.target.origin} redirects to what cannot be requested: {error}") from None
    if request.target.scheme == "https" and target.scheme == "http":
        raise RedirectRefused(f"{request.target.origin} redirects to plain http")
    following = replace(request, target=target)
    if answer.status == SEE_OTHER and request.method != "HEAD":
        following = _as_get(following)
    elif answer.status not in KEEP_THE_METHOD and request.method == "POST":
        following = _as_get(following)  # what browsers do, and servers expect
    if target.origin != request.target.origin:
        following = replace(following, headers=header_rules.for_cross_origin(following.headers))
    return following


def _as_get(request: Request) -> Request:
    return replace(request, method="GET", content=None, headers=header_rules.without_body(request.headers))


@contextmanager
def _translated() -> Iterator[None]:
    """httpcore's errors as ours. From None: theirs quote what the server said."""
    try:
        yield
    except httpcore.LocalProtocolError:
        raise InvalidRequest("this request cannot be sent") from None
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        raise NotConnected("the connection could not be made") from None
    except (httpcore.RemoteProtocolError, httpcore.NetworkError, httpcore.TimeoutException):
        raise Interrupted("the server did not answer with whole and valid HTTP") from None
