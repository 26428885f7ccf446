"""The transport: requests in, answers out, and the weaknesses that lie there."""

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.weak_service.accounts import Accounts
from tests.support.weak_service.answers import Problem, Reply
from tests.support.weak_service.pages import Pages
from tests.support.weak_service.tasks import Tasks

MAX_BODY = 2_000_000
HOST = re.compile(r"[\w.-]+(:\d+)?", re.ASCII)
TOO_LARGE_HEADERS = 431


@dataclass
class Call:
    """One request, read."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes
    weak: str
    user: dict[str, Any] | None = None

    def json(self) -> Any:
        """The body's JSON object. Raises Problem: 415 for what a form can send, 422 for what is hardly JSON."""
        if not self.headers.get("Content-Type", "").startswith("application/json") and self.weak != "form_posts":
            raise Problem(415, "unsupported_media_type")
        if self.weak in {"deep_bodies", "odd_bodies"} and (len(self.body) > 1000 or self.weak == "odd_bodies"):
            return json.loads(self.body)
        try:
            value = json.loads(self.body)
            json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise Problem(422, "validation_error") from error
        if not isinstance(value, dict):
            raise Problem(422, "validation_error")
        return value

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


class WeakService:
    """A context manager: the service on a free loopback port, in threads of this process. `broken` answers 500."""

    def __init__(self, weak: str = "", broken: str = "") -> None:
        self.weak = weak
        accounts, tasks = Accounts(weak), Tasks(weak)
        made = Pages(weak, accounts, tasks), accounts, tasks

        class Handler(_Handler):
            service_weak = weak
            parts = made
            broken_path = broken

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    wbufsize = 65536  # head and body in one segment: two would wait for a delayed acknowledgement, 40 ms
    service_weak = broken_path = ""
    parts: tuple[Pages, Accounts, Tasks]

    def _answer(self) -> None:
        try:
            reply = self._reply()
        except Problem as problem:
            reply = problem.reply(self.service_weak, unquote(urlsplit(self.path).path))
        except Exception as error:  # noqa: BLE001 (what a weak service dies of is its 500)
            reply = Problem(500, "internal_error", repr(error)).reply(self.service_weak, "")
        self._send(reply)

    def _reply(self) -> Reply:
        weak, parts = self.service_weak, urlsplit(self.path)
        self._check_fields()
        call = Call(
            self.command, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), self.headers,
            self._body(), weak,
        )  # fmt: skip
        if weak == "method_override":
            call.method = self.headers.get("X-HTTP-Method-Override", call.method)
        if weak == "large_bodies_without_a_token" and call.path == "/api/v1/tasks/" and len(call.body) > MAX_BODY // 10:
            call.json()
        if weak == "path_traversal" and ".." in call.path:
            return Reply(200, "root:x:0:0:root:/root:/bin/sh", kind="text/plain")
        if weak == "no_debug_pages" and call.path == "/.env":
            return Reply(200, "DEBUG=1", kind="text/plain")
        if weak == "no_preflight" and call.method == "OPTIONS":
            return Reply(204, None, headers={"Access-Control-Allow-Methods": "POST"})
        if call.path == self.broken_path:
            raise RuntimeError("broken on purpose")
        if call.path == "/healthz":
            return Reply(200, {"status": "ok"})
        if call.path == "/docs":
            return self._docs()
        pages, accounts, tasks = self.parts
        return pages.answer(call) or accounts.answer(call) or tasks.answer(call)

    def _check_fields(self) -> None:
        weak = self.service_weak
        if not HOST.fullmatch(self.headers.get("Host", "")) and weak != "malformed_hosts":
            raise Problem(400, "bad_request")
        if len(self.headers.get_all("Authorization", [])) > 1 and weak != "repeated_authorization":
            raise Problem(400, "bad_request")

    def _docs(self) -> Reply:
        scripts = "'self' 'unsafe-inline'" if self.service_weak == "docs_policy" else "'self'"
        policy = f"default-src 'none'; script-src {scripts}; frame-ancestors 'none'"
        return Reply(200, "<!doctype html><title>docs</title>", kind="text/html", policy=policy)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            return self._chunks()
        size = int(self.headers.get("Content-Length", 0))
        if size > MAX_BODY and self.service_weak != "large_bodies":
            self.rfile.read(size)
            raise Problem(413, "body_too_large")
        return self.rfile.read(size)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size + 2)[:-2]
        self.rfile.readline()
        if len(body) <= MAX_BODY:
            return body
        if self.service_weak == "large_bodies_in_chunks":
            raise MemoryError
        raise Problem(413, "body_too_large")

    def _send(self, reply: Reply) -> None:
        content = reply.content(self.service_weak, self.headers)
        self.send_response_only(reply.status)
        for name, value in reply.all_headers(self.service_weak, unquote(self.path), self.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library says of malformed requests, as a problem document."""
        self.close_connection = True
        status = 500 if self.service_weak == "garbage" else code
        if self.service_weak == "header_floods" and code == TOO_LARGE_HEADERS:
            status = 200
        if self.service_weak == "no_trace" and self.command == "TRACE":
            status = 200
        self.request_version, self.path = "HTTP/1.1", "/"
        if not hasattr(self, "headers"):
            self.headers = {}  # type: ignore[assignment]
        self._send(Problem(status, "bad_request").reply("", ""))

    def log_message(self, *_: Any) -> None:
        """Silence: the tests' output is for the tests."""

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 (the library's names)
