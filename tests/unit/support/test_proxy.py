"""The proxy that the fault tests put before PostgreSQL and Valkey, with a server that gives everything back."""

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.faults.proxy import TcpProxy, unacknowledged

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a packet filter on a socket is Linux's")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    heard: list[bytes]


class Echo(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(1024):
                self.server.heard.append(data)
                self.request.sendall(data)


@pytest.fixture
def heard() -> list[bytes]:
    """What has reached the server."""
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[TcpProxy]:
    with Server(("127.0.0.1", 0), Echo) as server:
        server.heard = heard
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with TcpProxy(*server.server_address) as started:
            yield started
        server.shutdown()


@pytest.fixture
def connected(proxy: TcpProxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"hello"
        yield client


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def ask(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message)
    return client.recv(1024)


def serves(proxy: TcpProxy, message: bytes = b"new") -> bool:
    """A new connection."""
    with connect(proxy) as client:
        return ask(client, message) == message


def silent(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


class TestRefused:
    def test_old_connections_are_reset_and_new_ones_refused(self, proxy: TcpProxy, connected: socket.socket) -> None:
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            ask(connected, b"again")
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)

    def test_healed_it_serves_on_the_same_port(self, proxy: TcpProxy) -> None:
        for _ in range(3):
            proxy.refuse()
            proxy.heal()
            assert serves(proxy)


class TestFrozen:
    def test_nothing_passes_until_it_is_healed(
        self, proxy: TcpProxy, connected: socket.socket, heard: list[bytes]
    ) -> None:
        proxy.freeze()
        with connect(proxy) as late:
            for client in (connected, late):
                client.sendall(b"frozen")
                assert silent(client)
            assert heard == [b"hello"]
            proxy.heal()
            assert connected.recv(1024) == late.recv(1024) == b"frozen"


class TestCut:
    def test_connections_are_reset_and_new_ones_served(self, proxy: TcpProxy, connected: socket.socket) -> None:
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connected.recv(1)
        assert serves(proxy)


class TestForgotten:
    @pytest.mark.parametrize("acknowledged", [True, pytest.param(False, marks=on_linux)])
    def test_old_connections_lead_nowhere_and_new_ones_are_served(
        self, proxy: TcpProxy, connected: socket.socket, heard: list[bytes], acknowledged: bool
    ) -> None:
        proxy.forget(acknowledged=acknowledged)
        connected.sendall(b"lost")
        assert silent(connected)
        assert (unacknowledged(connected) == 0) is acknowledged
        assert serves(proxy)
        assert heard == [b"hello", b"new"]


class TestOneReply:
    def test_is_dropped_once_the_server_has_answered(
        self, proxy: TcpProxy, connected: socket.socket, heard: list[bytes]
    ) -> None:
        reply = proxy.drop_reply(b"COMMIT")
        assert ask(connected, b"begin") == b"begin"
        with pytest.raises(ConnectionResetError):
            ask(connected, b"and COMMIT now")
        reply.wait(10)
        assert heard == [b"hello", b"begin", b"and COMMIT now"]
        assert serves(proxy, b"COMMIT")

    def test_is_held_until_it_is_released(self, proxy: TcpProxy, connected: socket.socket) -> None:
        reply = proxy.hold_reply(b"COMMIT")
        connected.sendall(b"COMMIT")
        reply.wait(10)
        assert silent(connected)
        proxy.release(reply)
        assert connected.recv(1024) == b"COMMIT"
        assert ask(connected, b"more") == b"more"

    def test_a_pattern_may_come_in_two_pieces(self, proxy: TcpProxy, connected: socket.socket) -> None:
        reply = proxy.drop_reply(b"COMMIT")
        assert ask(connected, b"COM") == b"COM"
        with pytest.raises(ConnectionResetError):
            ask(connected, b"MIT")
        assert reply.asked.is_set()
