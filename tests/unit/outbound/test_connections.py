"""Kept connections: the next request to an origin goes over one, and none is lost where the server has closed it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.core.host_rules import HostRules
from app.outbound import Bounds, Client, connections
from app.outbound.connections import Connections
from app.outbound.errors import AddressRefused, AnswerRefused, Interrupted
from app.outbound.targets import Policy
from tests.support.tls import Authority
from tests.unit.outbound.web_server import DEADLINE_SECONDS, LOOPBACK, FakeResolver, Web, reply, web_server

METADATA = "169.254.169.254"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


Keeping = Callable[..., Client]


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    """Makes clients that keep connections, until the test is over."""
    made = list[Connections]()

    def new(resolver: FakeResolver | None = None, tls: Any = None, most: int = 8, **bounds: float) -> Client:
        made.append(Connections(most))
        limits = Bounds(**{"seconds": DEADLINE_SECONDS} | bounds)
        return Client(LOOPBACK, limits, resolve=resolver or FakeResolver(), tls=tls, connections=made[-1])

    yield new
    for each in made:
        each.close()


@contextmanager
def scripted(*scripts: list[bytes | None]) -> Iterator[tuple[str, list[bytes]]]:
    """Serves one script for each connection: an answer for each request; None: says nothing. Then it closes.

    The values are its URL, and the requests as they come.
    """
    asked, over = list[bytes](), threading.Event()

    def serve() -> None:
        for script in scripts:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(DEADLINE_SECONDS)
                for answer in script:
                    if not (request := connection.recv(65536)):
                        break
                    asked.append(request)
                    if answer is None:
                        over.wait(DEADLINE_SECONDS)
                    else:
                        connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/", asked
        finally:
            over.set()
            thread.join(DEADLINE_SECONDS)


class TestAKeptConnection:
    def test_serves_the_next_request_to_its_origin(self, keeping: Keeping, web: Web, connected: list[object]) -> None:
        web.answer |= {"/": reply(body=b"one"), "/two": reply(204)}
        resolver = FakeResolver(a_example=[["127.0.0.1"]], b_example=[["127.0.0.1"]])
        sender = keeping(resolver)
        for path in ("/", "/two", "/"):
            sender.request("POST", web.url(path, host="a.example"), content=b"{}")
        assert (len(connected), resolver.asked) == (1, ["a.example"])
        assert "connection" not in web.seen[0].headers
        sender.request("POST", web.url(host="b.example"))
        assert resolver.asked == ["a.example", "b.example"]

    def test_is_of_a_client_that_was_given_some_alone(self, web: Web, connected: list[object]) -> None:
        web.answer["/"] = reply()
        sender = Client(LOOPBACK)
        for _ in range(2):
            sender.request("GET", web.url())
        assert (len(connected), web.seen[0].headers["connection"]) == (2, "close")

    def test_stays_encrypted(self, keeping: Keeping, authority: Authority, connected: list[object]) -> None:
        with web_server(authority.server(address="a.example")) as web:
            web.answer["/"] = reply(body=b"secret")
            sender = keeping(FakeResolver(a_example=[["127.0.0.1"]]), tls=authority.trusted)
            for _ in range(3):
                assert sender.request("GET", web.url(host="a.example", scheme="https")).content == b"secret"
            assert (len(connected), web.names) == (1, ["a.example"])

    def test_is_given_up_where_its_answer_was_not_read_or_ends_it(
        self, keeping: Keeping, web: Web, connected: list[object]
    ) -> None:
        web.answer |= {"/long": reply(body=b"x" * 500_000), "/last": reply(Connection="close")}
        sender = keeping()
        for path in ("/long", "/last", "/last"):
            with sender.stream("GET", web.url(path)):
                """It reads none of it."""
        assert len(connected) == 3

    def test_is_made_and_checked_anew_after_a_while(
        self, keeping: Keeping, web: Web, connected: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.answer["/"] = reply()
        sender = keeping(FakeResolver(a_example=[["127.0.0.1"], [METADATA]]))
        sender.request("GET", web.url(host="a.example"))
        monkeypatch.setattr(connections, "KEPT_SECONDS", 0.0)
        with pytest.raises(AddressRefused):
            sender.request("GET", web.url(host="a.example"))
        assert len(connected) == 1

    def test_idle_for_long_is_closed(
        self, keeping: Keeping, web: Web, connected: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.answer["/"] = reply()
        sender = keeping()
        sender.request("GET", web.url())
        sender.connections.close_unfit()
        sender.request("GET", web.url())
        assert len(connected) == 1
        monkeypatch.setattr(connections, "IDLE_SECONDS", 0.0)
        sender.connections.close_unfit()
        monkeypatch.undo()
        assert sender.connections.take(web.url().rstrip("/")) is None

    def test_has_its_number_bounded(self, keeping: Keeping, web: Web) -> None:
        web.answer["/"] = reply()
        sender = keeping(FakeResolver(**{f"{name}_example": [["127.0.0.1"]] for name in "abc"}), most=2)
        for name in "abc":
            sender.request("GET", web.url(host=f"{name}.example"))
        kept = [sender.connections.take(f"http://{name}.example:{web.port}") for name in "abc"]
        assert [each is not None for each in kept] == [True, True, False]
        for each in kept:
            if each is not None:
                each.http.close()


class TestAServerThatClosesIt:
    def test_after_an_answer_costs_no_request(self, keeping: Keeping) -> None:
        with scripted([EMPTY], [EMPTY]) as (url, asked):
            sender = keeping()
            assert [sender.request("POST", url).status for _ in range(2)] == [200, 200]
        assert len(asked) == 2

    def test_at_the_next_request_is_sent_it_again(self, keeping: Keeping) -> None:
        with scripted([EMPTY, b""], [EMPTY]) as (url, asked):
            sender = keeping()
            assert [sender.request("POST", url).status for _ in range(2)] == [200, 200]
        assert (len(asked), asked[1]) == (3, asked[2])

    def test_within_an_answer_is_an_error(self, keeping: Keeping) -> None:
        with scripted([EMPTY, b"HTTP/1.1 200 OK\r\n"]) as (url, asked):
            sender = keeping()
            sender.request("POST", url)
            with pytest.raises(Interrupted):
                sender.request("POST", url)
        assert len(asked) == 2

    def test_says_nothing_is_not_asked_again(self, keeping: Keeping) -> None:
        with scripted([EMPTY, None]) as (url, asked):
            sender = keeping(read_seconds=0.2)
            sender.request("POST", url)
            with pytest.raises(Interrupted, match="no data for"):
                sender.request("POST", url)
        assert len(asked) == 2


def test_each_request_has_bounds_of_its_own(keeping: Keeping, web: Web) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (each, b"y" * 1000) for each in range(60))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many
    large = b"HTTP/1.1 200 OK\r\n" + many + many
    with scripted([answer + b"\r\n"] * 2 + [large]) as (url, _):
        sender = keeping()
        assert [sender.request("GET", url).status for _ in range(2)] == [200, 200]
        with pytest.raises(AnswerRefused, match="headers are larger"):
            sender.request("GET", url)


def test_an_address_is_checked_before_the_first_request() -> None:
    sender = Client(Policy(allowed=HostRules.of([])), connections=Connections())
    with pytest.raises(AddressRefused):
        sender.request("GET", "http://127.0.0.1/")
    assert sender.connections.take("http://127.0.0.1:80") is None
