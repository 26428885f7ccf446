"""What the real server does with requests that are none: headers without an end, slow ones, strange methods and hosts."""

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from app.api.http import peers, protocol
from tests.support import accounts
from tests.support.bounds import bounded
from tests.support.fork_server import nothing_forked
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.tables import cases
from tests.support.task_client import BODY
from tests.support.waiting import wait_for

MEGABYTE = 1_000_000
HEADER_TIMEOUT = TRANSFER_TIMEOUT = 2.0
HOST = "tasks.example.com"
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("server")
    named = {
        "ALLOWED_HOSTS": f'["{HOST}"]',
        "CORS_ORIGINS": f'["{ORIGIN}"]',
        "QUOTA_TASKS_PER_MINUTE": "0",
        **bounded({peers: {"TRANSFER_SECONDS": TRANSFER_TIMEOUT}, protocol: {"HEADER_SECONDS": HEADER_TIMEOUT}}),
    }
    with Stack(services, directory, **named) as started:
        started.server()
        yield started


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30, headers={"Host": HOST}) as client:
        yield client


@pytest.fixture
def api(stack: Stack, http: httpx.Client) -> httpx.Client:
    """With a user's token."""
    http.headers.update(accounts.bearer(accounts.make_user(http, stack.promote)[1]))
    return http


def talk(stack: Stack, parts: Iterable[bytes], seconds: float = 20, *, pause: float = 0) -> tuple[int, bytes]:
    """The status and all of the first answer to these bytes; 0 where the connection ends without one."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # it has been closed on us; an answer may have come before
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
                head, found, body = answer.partition(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if found and lengths and len(body) >= int(lengths[0].split(b":")[1]):
                    break
        except ConnectionError:
            pass
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


def problem(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower()
    assert b"x-content-type-options: nosniff" in head.lower()
    assert b"\r\nserver:" not in head.lower()
    return dict(json.loads(body))


START = f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n".encode()


class TestHeaderFloods:
    @pytest.mark.parametrize(
        "parts",
        [
            [START, b"A: ", b"a" * 100_000, b"\r\n\r\n"],
            [START, b"A: ", b"a" * 10 * MEGABYTE, b"\r\n\r\n"],
            [START, b"".join(b"A%d: a\r\n" % number for number in range(100_000)), b"\r\n"],
            [START, b"".join(b"A%d: a\r\n" % number for number in range(200)), b"\r\n"],
            [START, b"a" * 10 * MEGABYTE],
            [b"GET /" + b"a" * 10 * MEGABYTE],
            [b"GET /healthz?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"],
        ],
        ids=["100 KB", "10 MB", "100,000", "200", "a name without an end", "a path without an end", "a long query"],
    )
    def test_are_answered_431(self, stack: Stack, parts: list[bytes]) -> None:
        status, answer = talk(stack, parts)
        assert status == 431, answer[:200]
        assert problem(answer)["code"] == "headers_too_large"

    def test_a_header_line_without_an_end_takes_neither_memory_nor_time(self, stack: Stack) -> None:
        process = psutil.Process(stack.server().pid)
        memory, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        for _ in range(3):
            status, _ = talk(stack, [START, b"A: ", *[b"a" * 65536] * 800])
            assert status in {431, 0}  # after 32 MB it stops listening, and the answer may be lost with the reset
        assert sum(process.cpu_times()[:2]) - cpu < 2
        assert process.memory_info().rss - memory < 20 * MEGABYTE

    def test_neither_do_trailers_without_an_end(self, stack: Stack) -> None:
        process = psutil.Process(stack.server().pid)
        memory = process.memory_info().rss
        start = START.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
        for ending in (b"0\r\nT: ", b"1;x="):
            talk(stack, [start, ending, *[b"a" * 65536] * 400])
        assert process.memory_info().rss - memory < 20 * MEGABYTE

    def test_a_body_in_small_chunks_is_none(self, http: httpx.Client) -> None:
        chunks = (b"x" for _ in range(20_000))
        assert http.post("/api/v1/auth/login", content=chunks).status_code == 415

    def test_many_requests_on_one_connection_are_none(self, stack: Stack) -> None:
        with httpx.Client(base_url=stack.url, headers={"Host": HOST, "A": "a" * 20_000}) as http:
            assert {http.get("/healthz").status_code for _ in range(30)} == {200}


class TestSlowHeaders:
    def test_are_answered_408(self, stack: Stack) -> None:
        begun = time.monotonic()
        status, answer = talk(stack, [START, *[b"A: a\r\n"] * 8], pause=0.3)
        assert (status, problem(answer)["code"]) == (408, "request_timeout")
        assert time.monotonic() - begun < 20

    @pytest.mark.parametrize("sent", [b"", b"G", b"\r\n"])
    def test_a_connection_that_says_nothing_is_ended(self, stack: Stack, sent: bytes) -> None:
        begun = time.monotonic()
        assert talk(stack, [sent] if sent else [])[0] == 408
        assert HEADER_TIMEOUT * 0.9 < time.monotonic() - begun < 20

    def test_stray_bytes_after_an_answer_hold_no_connection(self, stack: Stack) -> None:
        with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as connection:
            connection.sendall(START + b"\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):  # head and body may come in two segments
                chunk = connection.recv(65536)
                assert chunk, answer
                answer += chunk
            connection.sendall(b"\r\n")
            begun = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(65536) == b""
            assert time.monotonic() - begun < 15

    def test_an_answer_that_takes_longer_is_none(self, api: httpx.Client) -> None:
        """`?wait=` holds an answer for longer than headers may take."""
        task = api.post("/api/v1/tasks/", json=BODY).json()["id"]
        begun = time.monotonic()
        assert api.get(f"/api/v1/tasks/{task}?wait={HEADER_TIMEOUT * 2}").status_code == 200
        assert time.monotonic() - begun >= HEADER_TIMEOUT * 2


def post(api: httpx.Client, *headers: str) -> bytes:
    lines = [
        "POST /api/v1/tasks/ HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: {api.headers['Authorization']}",
        *headers,
    ]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


class TestSlowBodies:
    @pytest.mark.parametrize("token", [True, False])
    @pytest.mark.parametrize("sent", [[], [b"{"], [b"{"] * 40], ids=["nothing", "half", "a byte at a time"])
    def test_are_answered_408(self, stack: Stack, api: httpx.Client, sent: list[bytes], token: bool) -> None:
        head = post(api, "Content-Length: 1000")
        if not token:
            head = head.replace(b"Authorization", b"Anonymous")
        status, answer = talk(stack, [head, *sent], pause=0.1)
        assert (status, problem(answer)["code"]) in {(408, "request_timeout"), (401, "not_authenticated")}
        assert not token or status == 408

    def test_a_slow_honest_client_is_not(self, stack: Stack, api: httpx.Client) -> None:
        """100 kB/s, for longer than a client may be silent."""
        body = b" " * 400_000 + json.dumps(BODY).encode()
        pieces = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
        status, answer = talk(stack, [post(api, f"Content-Length: {len(body)}"), *pieces], pause=0.1)
        assert status == 201, answer


class TestRepeatedFields:
    """RFC 9110 §5.3: a sender must not repeat a field that has one value."""

    def test_are_refused_on_each_way_and_whatever_their_values(self, stack: Stack, api: httpx.Client) -> None:
        names = ("Authorization", "Idempotency-Key", "Content-Type", "Last-Event-ID", "Origin")
        own = [*api.headers.items(), ("Content-Type", "application/json")]
        values = (("a", "a"), ("a", "b"), (api.headers["Authorization"], "b"))
        with cases() as case:
            for name, method, pair in itertools.product(names, ("POST", "GET", "DELETE"), values):
                path = "/api/v1/tasks/" if method == "POST" else f"/api/v1/tasks/{uuid4()}"
                for way in (path, "/api/v1/tasks/?limit=1"):
                    with case(name, method, pair, way):
                        headers = [*own, *((name, value) for value in pair)]
                        answer = httpx.request(method, f"{stack.url}{way}", headers=headers, content=json.dumps(BODY))
                        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
                        assert answer.json()["detail"] == f"The request must have at most one {name} header"


class TestUnreadAnswers:
    def test_are_ended_and_the_users_next_request_is_served(self, stack: Stack, api: httpx.Client) -> None:
        process = psutil.Process(stack.server().pid)
        for _ in range(12):
            task = {**BODY, "args": [1], "metadata": {"text": "x" * 60_000}}
            assert api.post("/api/v1/tasks/", json=task).status_code == 201
        page = (
            START.replace(b"/healthz", b"/api/v1/tasks/?limit=200")
            + f"Authorization: {api.headers['Authorization']}\r\n\r\n".encode()
        )
        files = process.num_fds()
        with contextlib.ExitStack() as opened:
            for _ in range(20):
                connection = opened.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", stack.port))
                connection.sendall(page)
            wait_for(lambda: process.num_fds() >= files + 20, 20, "the connections to be accepted")
            wait_for(lambda: process.num_fds() < files + 5, 60, "the connections to be ended")
        assert api.get("/api/v1/tasks/?limit=1").status_code == 200


def test_what_is_no_http_or_names_no_host_is_400(stack: Stack) -> None:
    hosts = (b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: a\r\nHost: a\r\n", b"Host: a/b\r\n")
    with cases() as case:
        for sent in (
            b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 2000, b"G\xff T / HTTP/1.1\r\n\r\n",
            *(b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n" for host in hosts),
        ):  # fmt: skip
            with case(sent[:60]):
                status, answer = talk(stack, [sent])
                assert (status, problem(answer)["code"]) == (400, "bad_request")


class TestHosts:
    def test_only_those_that_are_allowed(self, stack: Stack) -> None:
        with httpx.Client(base_url=stack.url) as http:
            for host, status in ((HOST, 401), (f"{HOST}:8000", 401), ("evil.example", 400), ("127.0.0.1", 400)):
                answer = http.get("/api/v1/tasks/", headers={"Host": host, "X-Forwarded-Host": HOST})
                assert answer.status_code == status, host
                assert "evil" not in answer.text
            for path in ("/healthz", "/readyz"):
                assert http.get(path).status_code in {200, 503}

    def test_a_link_names_the_checked_host(self, api: httpx.Client) -> None:
        for _ in range(2):
            assert api.post("/api/v1/tasks/", json=BODY).status_code == 201
        answer = api.get("/api/v1/tasks/?limit=1", headers={"X-Forwarded-Host": "evil.example"})
        assert answer.headers["link"].startswith(f"<http://{HOST}/api/v1/tasks/?")
        assert answer.headers["cache-control"] == "private, no-cache"


class TestOrigins:
    def test_answers_and_errors_carry_the_headers(self, http: httpx.Client) -> None:
        for path in ("/healthz", "/api/v1/tasks/", "/nowhere"):
            assert http.get(path, headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN, path
            other = http.get(path, headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers, path

    def test_a_preflight(self, http: httpx.Client) -> None:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        for origin, status in ((ORIGIN, 200), ("https://evil.example", 400), ("null", 400)):
            answer = http.options("/api/v1/tasks/", headers=asked | {"Origin": origin})
            assert answer.status_code == status
            assert ("access-control-allow-origin" in answer.headers) is (status == 200)


class TestMethods:
    def test_strange_ones_are_refused_and_echo_nothing(self, stack: Stack) -> None:
        methods = ("TRACE", "TRACK", "CONNECT", "DEBUG", "PROPFIND", "get")
        with cases() as case:
            for method, path in itertools.product(methods, ("/healthz", "/api/v1/users/me", "/docs", "*")):
                with case(method, path):
                    request = (
                        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Probe: marker\r\nConnection: close\r\n\r\n"
                    )
                    status, answer = talk(stack, [request.encode()])
                    assert status in {400, 404, 405}
                    assert b"marker" not in answer

    def test_no_websocket(self, stack: Stack) -> None:
        upgrade = (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n"
        )
        assert talk(stack, [START + upgrade])[0] != 101


def https_is_remembered(url: str) -> list[bool]:
    """A proxy on this machine says so with X-Forwarded-Proto; from other addresses the header does not count."""
    answers = [
        httpx.get(f"{url}/healthz", headers={"X-Forwarded-Proto": scheme, "Host": HOST}) for scheme in ("http", "https")
    ]
    assert not any("server" in answer.headers for answer in answers)
    return ["strict-transport-security" in answer.headers for answer in answers]


def test_in_development_https_is_not_remembered(stack: Stack) -> None:
    assert https_is_remembered(stack.url) == [False, False]


@pytest.mark.parametrize(("protocol", "told"), [("httptools", True), ("app.api.http.protocol:BoundedProtocol", False)])
def test_production_remembers_https_and_says_when_it_was_started_without_the_bounds(
    services: Services, tmp_path: Path, protocol: str, told: bool
) -> None:
    # A process that is forked has imported the protocol whatever its options are.
    with nothing_forked(), Stack(services, tmp_path, APP_ENV="production") as other:
        part = other.server(options=["--http", protocol])
        assert ("headers have no end here" in part.output()) is told
        assert https_is_remembered(other.url) == [False, True]
