"""Real servers on loopback ports (HTTP, HTTPS, and any bytes), and a resolver that answers what the test says."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.core.host_rules import HostRules
from app.outbound import Bounds, Client
from app.outbound.network import Address
from app.outbound.targets import Policy

DEADLINE_SECONDS = 10
LOOPBACK = Policy(allowed=HostRules.of(["127.0.0.1/32"]))

Handler = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """`answer[path]` is what the server does there; `seen` what it was asked, over these `connections`.

    `names` is what TLS clients named (SNI).
    """

    port: int = 0
    answer: dict[str, Handler] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    """Header names with `_` for `-`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | named).items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    return answer


def redirect(location: str, status: int = 302) -> Handler:
    return reply(status, Location=location)


@contextmanager
def web_server(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web()

    class One(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client has had enough
                self.close_connection = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            web.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            web.answer.get(self.path, reply(404))(self)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def process_request(self, request: Any, client_address: Any) -> None:
            web.connections.append(request)
            super().process_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    with Server(("127.0.0.1", 0), One) as server:
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: web.names.append(name)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        web.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            for connection in web.connections:
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE_SECONDS)


@contextmanager
def one_connection(speak: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Calls `speak` with the first connection to the port, which is the value, and with an event that the end sets."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(DEADLINE_SECONDS)
            speak(connection, over)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join(DEADLINE_SECONDS)


def raw_server(*pieces: bytes, pause: float = 0, forever: bytes = b"") -> AbstractContextManager[int]:
    """Reads a request, sends the pieces with pauses, then `forever` again and again; the value is its port."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
            over.wait(pause)
        while forever and not over.wait(pause):
            connection.sendall(forever)

    return one_connection(speak)


class FakeResolver:
    """Says of each name what the test wants, the next answer at each question; `asked` counts them."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        is_address = ":" in host or host.replace(".", "").isdigit()
        answers = [[host]] if is_address else self.names.get(host)
        if not answers:
            raise OSError
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            Address(socket.AF_INET6, (each, port, 0, 0)) if ":" in each else Address(socket.AF_INET, (each, port))
            for each in found
        ]


def client(resolver: Any = None, policy: Policy = LOOPBACK, tls: Any = None, **bounds: Any) -> Client:
    return Client(policy, Bounds(**{"seconds": DEADLINE_SECONDS} | bounds), resolve=resolver or FakeResolver(), tls=tls)
