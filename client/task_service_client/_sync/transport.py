"""Requests: signed in, repeated where that is safe and may help, and as errors where they are refused."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from task_service_client._pair import rest, sleep
from task_service_client._sync.credentials import Credentials
from task_service_client.adapters import parsed
from task_service_client.base import Tokens
from task_service_client.errors import ApiError, NotSignedIn, Unexpected, Unreachable
from task_service_client.events import Event, EventParser
from task_service_client.requests import Deadline, next_page
from task_service_client.retries import ATTEMPTS, backoff, delay_of, retry_after
from task_service_client.version import __version__

Options = Callable[[], dict[str, Any]]
REDIRECTED, REFUSED, UNAUTHORIZED, NOT_FOUND, NO_CONTENT = 300, 400, 401, 404, 204
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
IDEMPOTENCY_KEY = "Idempotency-Key"
# A stream says each 15 seconds that it lives. It is opened again for some minutes.
SILENT_SECONDS, STREAM_ATTEMPTS = 50.0, 30
# An event holds a task or a chunk: mebibytes at most.
MOST_LINE_BYTES = 2**26


NEVER = Deadline(None)


@dataclass(frozen=True)
class Sending:
    """What is sent, and how often. `options` are httpx's, made anew for each attempt."""

    method: str
    path: str
    options: Options
    attempts: int = ATTEMPTS
    is_signed: bool = True
    is_repeatable: bool = False
    deadline: Deadline = NEVER


class Transport:
    """The connections to one server."""

    def __init__(self, base_url: str, credentials: Credentials, timeout: float, language: str | None = None) -> None:
        self.credentials, self.timeout = credentials, timeout
        headers = {"User-Agent": f"task-service-client/{__version__}"}
        if language is not None:
            headers["Accept-Language"] = language
        self._http = httpx.Client(base_url=base_url, timeout=timeout, headers=headers)

    def close(self) -> None:
        rest()
        self._http.close()

    def request(
        self, method: str, path: str, *, repeatable: bool = False, deadline: Deadline | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request and return its whole answer. Raises ApiError, Unreachable, Unexpected, ValueError.

        `repeatable`: it may be sent again when its answer is lost, also without an idempotency key. Nothing is sent
        again after the deadline.
        """
        sending = Sending(method, path, lambda: dict(options), is_repeatable=repeatable, deadline=deadline or NEVER)
        return self._answer(sending, whole=True)

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[httpx.Response]:
        """Yield the answers of a list, page by page. Raises as `request`."""
        following = path
        while following:
            answer = self.request("GET", following, params=params)
            yield answer
            following, params = next_page(path, answer), None

    @contextmanager
    def stream(self, method: str, path: str, options: Options, *, attempts: int = ATTEMPTS) -> Iterator[httpx.Response]:
        """Send a request, and close its answer at the end. `options` are made anew for each attempt.

        Raises as `request`.
        """
        response = self._answer(Sending(method, path, options, attempts), whole=False)
        try:
            yield response
        except httpx.DecodingError as error:
            raise Unexpected(_words(error)) from error
        except httpx.TransportError as error:
            raise Unreachable(f"{method} {path}: the answer ended early ({_words(error)})") from error
        finally:
            response.close()

    def events(self, path: str, params: dict[str, Any] | None = None) -> Iterator[Event]:
        """Yield the events of a stream, which is opened again wherever it ends early; `open` each time it is open."""
        parser = EventParser()

        def options() -> dict[str, Any]:
            known = {} if parser.last_id is None else {"Last-Event-ID": parser.last_id}
            timeout = httpx.Timeout(self.timeout, read=SILENT_SECONDS)
            return {"headers": {"Accept": "text/event-stream", **known}, "params": params, "timeout": timeout}

        fruitless = 0
        while fruitless < STREAM_ATTEMPTS:
            fruitless += 1
            parser.restart()
            try:
                with self.stream("GET", path, options, attempts=STREAM_ATTEMPTS) as response:
                    if response.status_code == NO_CONTENT:
                        return
                    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                        raise Unexpected("no stream of events")
                    yield Event("open", "", parser.last_id)
                    for line in _lines(response.iter_bytes()):
                        for event in parser.feed(line):
                            fruitless = 0
                            yield event
            except Unreachable as error:
                if not isinstance(error.__cause__, httpx.ReadError | httpx.RemoteProtocolError | httpx.ReadTimeout):
                    raise
            sleep(parser.retry if parser.retry is not None else backoff(fruitless))
        raise Unreachable(f"GET {path}: the stream ends whenever it is opened")

    def _answer(self, sending: Sending, *, whole: bool) -> httpx.Response:
        is_renewed = is_lost = False
        attempt = 0
        while True:
            token = self.credentials.token(self.send) if sending.is_signed else None
            request = self._request(sending, token)
            is_repeatable = sending.is_repeatable or request.method in REPEATABLE or IDEMPOTENCY_KEY in request.headers
            try:
                response = self._http.send(request, stream=True)
                if whole or response.status_code >= REDIRECTED:
                    response.read()
            except httpx.LocalProtocolError as bad:  # whose text may hold a header
                raise Unreachable(f"{request.method} {request.url}: the request is no valid HTTP") from bad
            except httpx.DecodingError as bad:
                raise Unexpected(_words(bad)) from bad
            except httpx.TransportError as lost:
                was_sent = not isinstance(lost, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                is_lost = is_lost or was_sent
                over = attempt + 1 >= sending.attempts or sending.deadline.left() <= 0
                if over or (was_sent and not is_repeatable):
                    raise Unreachable(f"{request.method} {request.url}: {_words(lost)}") from lost
                sleep(backoff(attempt))
                attempt += 1
                continue
            if response.status_code < REDIRECTED:
                return response
            response.close()
            if is_lost and request.method == "DELETE" and response.status_code == NOT_FOUND:
                return response  # the first request has deleted it
            if response.status_code == UNAUTHORIZED and sending.is_signed and not is_renewed:
                is_renewed = True
                if self.credentials.renew(self.send, token):
                    continue
            error = _error_of(response)
            delay = delay_of(error, attempt, is_repeatable=is_repeatable)
            if delay is None or attempt + 1 >= sending.attempts or delay > sending.deadline.left():
                raise error
            sleep(delay)
            attempt += 1

    def _request(self, sending: Sending, token: str | None) -> httpx.Request:
        if not sending.path.startswith("/") or sending.path.startswith("//"):
            raise ValueError(f"{sending.path!r} is no path of the server (it begins with one /)")
        options = sending.options()
        headers = {**(options.pop("headers", None) or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            return self._http.build_request(sending.method, sending.path, headers=headers, **options)
        except httpx.InvalidURL as error:
            raise ValueError(f"{sending.path!r} is no path of the server ({error})") from None

    def send(self, path: str, options: dict[str, Any]) -> Any:
        """Send a request without credentials that gives tokens, and return these."""
        answer = self._answer(Sending("POST", path, lambda: dict(options), is_signed=False), whole=True)
        return parsed(Tokens, answer.content).model_dump()


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of a text. httpx would also split it at the line separators of Unicode, which JSON may hold."""
    held = b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")
        if len(held) > MOST_LINE_BYTES:
            raise Unexpected("a line without an end")


def _error_of(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
    except (ValueError, RecursionError):
        problem = None
    if REDIRECTED <= response.status_code < REFUSED:
        place = response.headers.get("location", "another place")
        problem = {"code": "redirected", "detail": f"{response.request.url} is at {place}: name that server"}
    if not isinstance(problem, dict):
        problem = {"detail": f"{response.request.url} is answered with {response.status_code}, and not by this service"}
    kind = NotSignedIn if response.status_code == UNAUTHORIZED else ApiError
    return kind(response.status_code, problem, retry_after(response.headers))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
