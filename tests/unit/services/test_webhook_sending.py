"""One request of a webhook: what each kind of receiver comes to, and when what failed is tried again."""

import gzip
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.core.redacted_text import redact_text
from app.core.signatures import encode_secret, verify
from app.outbound import Client
from app.services.webhooks import queue
from app.services.webhooks.queue import ANSWER_BYTES, Message, send
from tests.support.tls import Authority
from tests.unit.outbound.web_server import (
    FakeResolver,
    Handler,
    Web,
    client,
    one_connection,
    raw_server,
    redirect,
    reply,
    web_server,
)

KEY = bytes(range(32))
BODY = b'{"type":"task.failed","timestamp":"2026-11-24T12:00:00Z","data":{"id":"1"}}'


def message(url: str, **more: Any) -> Message:
    return Message(url, UUID(int=7), BODY, [KEY], **more)


@contextmanager
def answering(handler: Handler) -> Iterator[int]:
    with web_server() as web:
        web.answer["/hooks"] = handler
        yield web.port


def drips(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(b"it is well")


def closes(connection: socket.socket, _: threading.Event) -> None:
    connection.recv(65536)


def sleeps(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    over.wait(10)


@contextmanager
def nothing_there() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield port


# What the receiver does; its status, whether that is a success, what the error says, and the seconds that it asks for.
Row = tuple[Callable[[], AbstractContextManager[int]], int | None, bool, str | None, float | None]
RECEIVERS: dict[str, Row] = {
    "takes it": (lambda: answering(reply(200, b"thanks")), 200, True, None, None),
    "takes it later": (lambda: answering(reply(202)), 202, True, None, None),
    "takes it and never ends its answer": (lambda: answering(drips), 200, True, None, None),
    "takes it and answers what is no gzip": (
        lambda: answering(reply(200, b"no gzip", Content_Encoding="gzip")), 200, True, None, None,
    ),
    "is busy": (lambda: answering(reply(429, Retry_After="120")), 429, False, "answered 429", 120.0),
    "is away": (lambda: answering(reply(503, Retry_After="999999999")), 503, False, "answered 503", 86_400.0),
    "fails": (lambda: answering(reply(500)), 500, False, "answered 500", None),
    "does not know it": (lambda: answering(reply(404)), 404, False, "answered 404", None),
    "is gone": (lambda: answering(reply(410)), 410, False, "answered 410", None),
    "redirects": (lambda: answering(redirect("/elsewhere", 307)), 307, False, "answered 307", None),
    "has moved": (lambda: answering(redirect("http://127.0.0.1/", 301)), 301, False, "answered 301", None),
    "is slow": (lambda: one_connection(sleeps), None, False, "within 0.5 seconds", None),
    "closes": (lambda: one_connection(closes), None, False, "no complete and valid HTTP response", None),
    "answers garbage": (lambda: raw_server(b"\x00\xff" * 100), None, False, "no complete and valid", None),
    "answers headers without end": (
        lambda: raw_server(b"HTTP/1.1 200 OK\r\n", forever=b"X: " + b"y" * 9000 + b"\r\n"), None, False, "headers", None,
    ),
    "is not there": (nothing_there, None, False, "cannot connect", None),
}  # fmt: skip


@pytest.mark.parametrize("name", RECEIVERS)
def test_each_receiver_comes_to_what_the_contract_says(name: str) -> None:
    start, status, succeeded, error, retry_after = RECEIVERS[name]
    with start() as port:
        seconds = 0.5 if name in {"is slow", "takes it and never ends its answer"} else 10
        outcome = send(client(max_redirects=0, seconds=seconds), message(f"http://127.0.0.1:{port}/hooks"))
    assert (outcome.status, outcome.succeeded, outcome.retry_after) == (status, succeeded, retry_after)
    assert outcome.is_gone == (status == 410)
    assert (error is None) == (outcome.error is None)
    assert error is None or error in str(outcome.error)
    assert outcome.as_attempt()["status_code"] == status


class TestAddresses:
    def test_a_private_one_is_never_connected_to(self) -> None:
        with web_server() as web:
            for url in (web.url(host="127.0.0.2"), web.url(host="inside.example")):
                outcome = send(client(FakeResolver(inside_example=[["10.0.0.1"]])), message(url))
                assert "not a public address" in str(outcome.error)
            assert web.seen == []

    def test_a_name_that_changes_its_address_is_checked_at_each_connection(self) -> None:
        with web_server() as web:
            web.answer["/"] = reply(200)
            by = client(FakeResolver(a_example=[["127.0.0.1"], ["169.254.169.254"]]))
            first, second = (send(by, message(web.url(host="a.example"))) for _ in range(2))
        assert first.succeeded
        assert "not a public address" in str(second.error)
        assert len(web.seen) == 1

    @pytest.mark.parametrize("trusted", [True, False])
    def test_a_certificate_must_be_valid(self, tmp_path: Path, trusted: bool) -> None:
        theirs, others = Authority(tmp_path / "theirs"), Authority(tmp_path / "others")
        with web_server(theirs.server(address="a.example")) as web:
            web.answer["/"] = reply(200)
            by = client(FakeResolver(a_example=[["127.0.0.1"]]), tls=(theirs if trusted else others).trusted)
            outcome = send(by, message(web.url(host="a.example", scheme="https")))
        assert outcome.succeeded == trusted
        assert trusted or "certificate of a.example" in str(outcome.error)


class TestTheRequest:
    @pytest.fixture
    def web(self) -> Iterator[Web]:
        with web_server() as started:
            started.answer["/"] = reply(200)
            yield started

    def test_is_signed_and_has_the_events_id(self, web: Web) -> None:
        send(client(), message(web.url()))
        [seen] = web.seen
        assert verify(encode_secret(KEY), seen.headers, seen.body) == str(UUID(int=7))
        assert (seen.body, seen.headers["content-type"]) == (BODY, "application/json")

    def test_of_an_answer_in_many_pieces_secrets_are_hidden_once(
        self, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For each piece it would take a third of a second of the CPU in all."""
        seen = list[str]()

        def note(text: str) -> str:
            seen.append(text)
            return redact_text(text)

        def pieces(request: http.server.BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(b"1\r\na\r\n" * 500 + b"0\r\n\r\n")

        web.answer["/"] = pieces
        monkeypatch.setattr("app.services.webhooks.queue.redact_text", note)
        assert send(client(), message(web.url())).answer == "a" * 500
        assert seen == ["a" * 500]

    def test_of_the_answer_the_first_kibibyte_is_kept_with_its_secrets_hidden(self, web: Web) -> None:
        web.answer["/"] = reply(500, b"token=abcdefghijkl \x00" + b"x" * 5000)
        answer = str(send(client(), message(web.url())).answer)
        assert answer.startswith("token=*** \ufffd")
        assert len(answer) <= ANSWER_BYTES
        web.answer["/"] = reply(500, gzip.compress(b"y" * 100_000), Content_Encoding="gzip")
        assert send(client(), message(web.url())).answer == "y" * ANSWER_BYTES

    def test_is_not_made_where_it_cannot_be_signed(self, web: Web) -> None:
        assert send(client(), message(web.url(), fault="no secret")).error == "no secret"
        assert web.seen == []

    def test_that_breaks_is_an_attempt_that_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode(*_: object, **__: object) -> None:
            raise RuntimeError("password=hunter2hunter2")

        monkeypatch.setattr(Client, "stream", explode)
        assert send(client(), message("http://127.0.0.1:1/")).error == "the request failed: RuntimeError"


class TestRetries:
    def test_take_three_days_and_the_second_attempt_comes_within_a_minute(self) -> None:
        waits = [queue.retry_delay_after(tries, None) for tries in range(1, len(queue.RETRY_DELAYS) + 2)]
        assert waits.pop() is None
        assert waits[0] is not None
        assert waits[0] < 60
        assert 0.9 * 258_000 < sum(filter(None, waits)) < 1.1 * 260_000

    @pytest.mark.parametrize(("asked", "least"), [(None, 9.0), (1.0, 9.0), (3600.0, 3600.0)])
    def test_wait_longer_if_the_receiver_asks_and_never_shorter(self, asked: float | None, least: float) -> None:
        delay = queue.retry_delay_after(1, asked)
        assert delay is not None
        assert least <= delay <= max(11.0, asked or 0)

    @pytest.mark.parametrize(
        ("elapsed", "asked", "latest"),
        [
            (0.0, 86_400.0, 86_400.0),
            (queue.RETRIES_LAST - 7200, 3600.0, 7200.0),
            (queue.RETRIES_LAST - 3600, 7200.0, None),
            (queue.RETRIES_LAST - 60, None, 60.0),
            (queue.RETRIES_LAST, None, None),
        ],
    )
    def test_are_made_within_three_days_and_no_earlier_than_the_receiver_asks(
        self, elapsed: float, asked: float | None, latest: float | None
    ) -> None:
        delay = queue.retry_delay_after(5, asked, elapsed)
        if latest is None:
            assert delay is None
        else:
            assert delay is not None
            assert (asked or 0) <= delay <= latest

    def test_end_also_if_the_receiver_asks_for_more(self) -> None:
        assert queue.retry_delay_after(len(queue.RETRY_DELAYS) + 1, 60.0) is None
