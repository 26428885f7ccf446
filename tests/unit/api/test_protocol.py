"""The service's HTTP protocol on sockets: every request that HTTP/1.1 allows is answered, and none holds much for long."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.http.protocol import HEAD_PIECE
from tests.support.protocol_server import ProtocolServer, protocol_server, read_all, statuses
from tests.support.tables import check_rows
from tests.support.waiting import wait_for

HOST = b"Host: a\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ANSWER = 1_300_000
# A kernel takes so much of an answer although its client reads nothing.
KERNEL = 700_000
SECONDS = 1.0
LIMITS: dict[str, Any] = {"seconds": SECONDS, "bytes_per_second": 1_000_000.0}
UPGRADES = {
    # As curl 8.14 and Java 17 send them.
    "curl": b"User-Agent: curl/8.14.1\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "java": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    b"Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.21\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "unknown": b"upgrade: foo/1, bar\r\nconnection: upgrade\r\n",
}


def checked(server: ProtocolServer) -> Iterator[ProtocolServer]:
    """The server, which holds nothing after the test and has logged nothing."""
    yield server
    wait_for(lambda: not server.state.connections, 20, "every connection to end")
    assert (server.peers.held_bytes, server.peers.owners) == (0, 0)
    assert server.records.lines == []
    assert server.errors == []


@pytest.fixture(scope="module")
def started() -> Iterator[ProtocolServer]:
    with protocol_server(header_seconds=5.0) as server:
        yield server


@pytest.fixture(scope="module")
def impatient_one() -> Iterator[ProtocolServer]:
    with protocol_server(**LIMITS) as server:
        yield server


@pytest.fixture
def server(started: ProtocolServer) -> Iterator[ProtocolServer]:
    """With the default limits of a transfer."""
    yield from checked(started)


@pytest.fixture
def impatient(impatient_one: ProtocolServer) -> Iterator[ProtocolServer]:
    """Ends a transfer after a second."""
    yield from checked(impatient_one)


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return line + b" HTTP/1.1\r\n" + HOST + b"".join(headers) + length + b"\r\n" + body


class TestUpgrade:
    """RFC 9110 §7.8: a server may ignore it."""

    def test_is_ignored_and_loses_neither_the_body_nor_the_next_request(self, server: ProtocolServer) -> None:
        def check(kind: str, size: int) -> None:
            answer = server.ask(request(b"POST /length", UPGRADES[kind], body=b"x" * size) + LAST)
            assert statuses(answer) == [200, 200]
            assert b"POST /length %d" % size in answer
            assert answer.endswith(b"GET /last 0")

        check_rows(check, [(kind, size) for kind in UPGRADES for size in (0, 5, 100_000)])

    def test_with_a_chunked_body(self, server: ProtocolServer) -> None:
        chunked = request(b"POST /length", UPGRADES["java"], b"Transfer-Encoding: chunked\r\n")
        answer = server.ask(chunked + b"5\r\nhello\r\n0\r\n\r\n" + LAST)
        assert b"POST /length 5" in answer
        assert answer.endswith(b"GET /last 0")

    def test_in_every_request_of_a_pipeline(self, server: ProtocolServer) -> None:
        answer = server.ask(request(b"POST /length", UPGRADES["curl"], body=b"hello") * 300 + LAST)
        assert statuses(answer) == [200] * 301

    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_in_pieces(self, server: ProtocolServer, size: int) -> None:
        data = request(b"POST /length", UPGRADES["curl"], body=b"hello") + LAST
        with server.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(data), size):
                connection.sendall(data[at : at + size])
            assert statuses(read_all(connection)) == [200, 200]

    def test_the_application_sees_all_other_fields(self, server: ProtocolServer) -> None:
        sent = request(b"GET /headers", UPGRADES["curl"], b"Connection: close\r\nA: \xe4  b\r\n")
        fields = json.loads(server.ask(sent).partition(b"\r\n\r\n")[2])
        assert ["a", "\xe4  b"] in fields
        assert "upgrade" not in dict(fields)
        assert dict(fields)["http2-settings"] == "AAMAAABkAAQAoAAAAAIAAAAA"

    def test_connect_is_refused(self, server: ProtocolServer) -> None:
        answer = server.ask(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nabc")
        assert statuses(answer) == [400]
        assert b"CONNECT is not supported" in answer


class TestStandard:
    def test_thousands_of_pipelined_requests_are_answered_and_never_parsed_at_once(
        self, server: ProtocolServer
    ) -> None:
        one = request(b"GET /wait")
        with server.connect() as connection:
            begun = len(server.begun)
            connection.sendall(one * 5000 + LAST)
            wait_for(lambda: len(server.begun) > begun, 10, "the first request to begin")
            (protocol,) = server.state.connections
            assert len(protocol.pipeline) <= HEAD_PIECE // len(one) + 1
            server.release()
            assert statuses(read_all(connection)) == [200] * 5001

    def test_a_malformed_request_is_answered_after_those_before_it(self, server: ProtocolServer) -> None:
        answer = server.ask(request(b"GET /x") * 3 + b"G\0T / HTTP/1.1\r\n\r\n" + LAST)
        assert statuses(answer) == [200, 200, 200, 400]

    def test_trailers_and_extensions_of_chunks_are_read_and_dropped(self, server: ProtocolServer) -> None:
        chunked = request(b"POST /headers", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n")
        answer = server.ask(chunked + b'5;a=b;c="d"\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n')
        assert statuses(answer) == [200]
        assert b"authorization" not in answer

    def test_the_host_of_an_absolute_target_counts(self, server: ProtocolServer) -> None:
        def check(target: bytes, host: str) -> None:
            answer = server.ask(request(b"GET " + target, b"Connection: close\r\n"))
            fields = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert [value for name, value in fields if name == "host"] == [host]
            assert server.begun[-1] == "/headers"

        check_rows(check, [
            (b"http://h.example/headers", "h.example"),
            (b"HTTP://h.example:8080/headers?a=b", "h.example:8080"),
            (b"https://[::1]:80/headers", "[::1]:80"),
        ])  # fmt: skip

    def test_an_absolute_target_without_a_path(self, server: ProtocolServer) -> None:
        assert server.ask(request(b"GET http://h.example", b"Connection: close\r\n")).endswith(b"GET / 0")

    def test_any_other_target_is_400(self, server: ProtocolServer) -> None:
        def check(target: bytes) -> None:
            for method in (b"OPTIONS ", b"GET "):
                assert statuses(server.ask(request(method + target))) == [400]

        check_rows(check, [b"*", b"ftp://a/", b"http:///a", b"http://u:p@a/", b"a:80", b"a"])

    def test_expect_is_answered_where_the_version_has_it(self, server: ProtocolServer) -> None:
        expecting = b"POST /length HTTP/1.%d\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        for version, interim in ((1, [100]), (0, [])):
            with server.connect() as connection:
                connection.sendall(expecting % version)
                if interim:
                    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
                connection.sendall(b"ab")
                answer = read_all(connection)
                assert statuses(answer) == [200]
                assert answer.endswith(b"POST /length 2")

    def test_head_has_no_body(self, server: ProtocolServer) -> None:
        answer = server.ask(request(b"HEAD /bytes/100", b"Connection: close\r\n"))
        assert b"content-length: 100" in answer
        assert answer.endswith(b"\r\n\r\n")

    def test_a_body_that_turns_out_malformed_is_400_once(self, server: ProtocolServer) -> None:
        for field, body in ((b"Transfer-Encoding: gzip\r\n", b"x"), (b"Transfer-Encoding: chunked\r\n", b"z\r\n")):
            assert statuses(server.ask(request(b"POST /length", field) + body)) == [400]


class TestUnreadAnswers:
    def test_end_and_their_memory_returns(self, impatient: ProtocolServer) -> None:
        connections = [impatient.connect(receive_buffer=4096) for _ in range(10)]
        for connection in connections:
            connection.sendall(request(b"GET /user/bytes/%d" % ANSWER))
        wait_for(lambda: impatient.peers.held_bytes > 10 * (ANSWER - KERNEL), 10, "the answers to wait")
        wait_for(lambda: not impatient.state.connections, 20, "the connections to end")
        assert impatient.peers.held_bytes == 0
        for connection in connections:
            assert len(read_all(connection)) < ANSWER  # the kernel has dropped what it kept
            connection.close()

    def test_a_trickle_ends_too(self, impatient: ProtocolServer) -> None:
        with impatient.connect(receive_buffer=4096) as connection:
            connection.sendall(request(b"GET /bytes/%d" % ANSWER))
            read = 0
            while impatient.state.connections:
                read += len(_read(connection, 1000))
                time.sleep(0.01)  # 100 kB/s, a tenth of what is asked
        assert read < ANSWER

    def test_a_client_that_reads_gets_all(self, server: ProtocolServer) -> None:
        with server.connect(receive_buffer=4096) as connection:
            connection.sendall(request(b"GET /bytes/%d" % ANSWER) * 3 + LAST)
            assert statuses(read_all(connection)) == [200] * 4

    @pytest.mark.parametrize("at_once", [1, 2])
    def test_no_further_request_is_begun_before_its_client_reads(self, impatient: ProtocolServer, at_once: int) -> None:
        begun = impatient.begun.count("/bytes/9000000")
        one = request(b"GET /bytes/9000000")
        with impatient.connect(receive_buffer=4096) as connection:
            connection.sendall(one * at_once)
            wait_for(lambda: impatient.peers.held_bytes > 0, 10, "the answer to wait")
            connection.sendall(one * 2)
            wait_for(lambda: not impatient.state.connections, 20, "the connection to end")
        assert impatient.begun.count("/bytes/9000000") == begun + 1


def _read(connection: socket.socket, count: int) -> bytes:
    try:
        return connection.recv(count)
    except ConnectionError:
        return b""


class TestHalfSentBodies:
    @pytest.mark.parametrize("sent", [b"", b"half"])
    def test_are_408_and_end(self, impatient: ProtocolServer, sent: bytes) -> None:
        answer = impatient.ask(request(b"POST /length", b"Content-Length: 10\r\n") + sent)
        assert statuses(answer) == [408]
        assert b'"code":"request_timeout"' in answer

    def test_chunked_ones_too(self, impatient: ProtocolServer) -> None:
        answer = impatient.ask(request(b"POST /length", b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
        assert statuses(answer) == [408]

    def test_those_that_were_answered_already_end(self, impatient: ProtocolServer) -> None:
        with impatient.connect() as connection:
            connection.sendall(request(b"POST /early", b"Content-Length: 10\r\n") + b"half")
            assert statuses(read_all(connection)) == [200]

    def test_a_body_that_comes_fast_enough_is_read(self, server: ProtocolServer) -> None:
        with server.connect() as connection:
            connection.sendall(request(b"POST /length", b"Connection: close\r\nContent-Length: 3000000\r\n"))
            for _ in range(30):
                connection.sendall(b"x" * 100_000)
            assert read_all(connection).endswith(b"POST /length 3000000")


class TestBounds:
    def test_requests_of_one_user(self) -> None:
        with protocol_server(requests_per_user=3, **LIMITS) as server:
            waiting = [server.connect() for _ in range(3)]
            for connection in waiting:
                connection.sendall(request(b"GET /user/wait", b"Connection: close\r\n"))
            wait_for(lambda: server.begun.count("/user/wait") == 3, 10, "the requests to begin")
            assert statuses(server.ask(request(b"GET /user/x", b"Connection: close\r\n"))) == [429]
            assert statuses(server.ask(request(b"GET /x", b"Connection: close\r\n"))) == [200]
            server.release()
            for connection in waiting:
                assert statuses(read_all(connection)) == [200]
                connection.close()
            assert statuses(server.ask(request(b"GET /user/x", b"Connection: close\r\n"))) == [200]

    def test_unread_answers_of_one_user(self) -> None:
        bound = 3 * ANSWER
        slow = {"seconds": 60.0}
        with protocol_server(bytes_per_user=bound, **slow) as server:
            connections = []
            for _ in range(10):
                connections.append(server.connect(receive_buffer=4096))
                connections[-1].sendall(request(b"GET /user/bytes/%d" % ANSWER))
            wait_for(lambda: server.begun.count(f"/user/bytes/{ANSWER}") == 10, 10, "the requests to begin")
            wait_for(lambda: 0 < server.peers.held_bytes <= bound, 10, "the oldest to end")
            for connection in connections:
                connection.close()

    def test_connections(self) -> None:
        with protocol_server(connections=16, **LIMITS) as server:
            with server.connect() as first:
                first.sendall(request(b"GET /wait", b"Connection: close\r\n"))
                wait_for(lambda: server.begun == ["/wait"], 10, "the request to begin")
                idle = [server.connect() for _ in range(100)]
                assert statuses(server.ask(LAST)) == [200]
                assert len(server.state.connections) <= 17
                server.release()
                assert statuses(read_all(first)) == [200]  # a request in progress is not ended
            for connection in idle:
                connection.close()

    def test_connections_that_are_all_busy(self) -> None:
        with protocol_server(connections=16, **LIMITS) as server:
            busy = [server.connect() for _ in range(16)]
            for connection in busy:
                connection.sendall(request(b"GET /wait", b"Connection: close\r\n"))
            wait_for(lambda: len(server.begun) == 16, 10, "the requests to begin")
            with server.connect() as refused:
                assert statuses(read_all(refused)) == [503]
            server.release()
            for connection in busy:
                assert statuses(read_all(connection)) == [200]
                connection.close()
