"""Request ids, headers, limits, metrics: around a small application."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient
from starlette.types import Message

from app.api import middleware
from app.api.error_handlers import add_problem_handlers
from app.api.middleware import RequestContext, RequestLimits, RequestMetrics
from app.core import logging as app_logging
from app.core.metrics import exposition

LIMIT = 2048

app = FastAPI(redirect_slashes=False)
add_problem_handlers(app)
app.add_middleware(RequestLimits, max_body_bytes=LIMIT)
app.add_middleware(RequestMetrics)
app.add_middleware(RequestContext)


@app.post("/length")
async def length(request: Request) -> int:
    return len(await request.body())


@app.post("/json")
async def take_json(body: list[str]) -> int:
    return len(body)


@app.get("/id")
def show_id() -> str:
    return app_logging.request_id.get()


@app.get("/things/{thing}")
async def thing(thing: str) -> str:
    return thing


@app.get("/framed")
async def framed() -> Response:
    return Response("x", headers={"Content-Security-Policy": "default-src 'self'"})


@app.get("/api/v1/auth/x")
@app.get("/api/v1/users/me")
@app.get("/api/v1/authors")
async def named() -> str:
    return "x"


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def call(scope: dict[str, Any], messages: list[Message]) -> list[Message]:
    """The raw protocol, for what a client library would not send."""
    base = {"type": "http", "method": "GET", "query_string": b"", "headers": [], "path": "/id", "scheme": "http"}
    waiting, sent = iter(messages), []

    async def receive() -> Message:
        return next(waiting)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(base | scope, receive, send))
    return sent


class TestRequestId:
    @pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
    def test_a_given_one_is_kept(self, client: TestClient, given: str) -> None:
        answer = client.get("/id", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] == answer.json() == given

    @pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", "a\tb", "id\u00e9".encode().decode("latin-1")])
    def test_a_strange_one_is_replaced(self, client: TestClient, given: str) -> None:
        answer = client.get("/id", headers=[(b"X-Request-ID", given.encode("latin-1"))])
        assert answer.headers["x-request-id"] != given
        assert len(answer.headers["x-request-id"]) == 32

    def test_each_request_has_its_own(self, client: TestClient) -> None:
        assert client.get("/id").json() != client.get("/id").json()


class TestHeaders:
    @pytest.mark.parametrize("path", ["/id", "/nowhere"])
    def test_every_answer_has_them(self, client: TestClient, path: str) -> None:
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")

    def test_a_page_may_have_a_policy_of_its_own(self, client: TestClient) -> None:
        assert client.get("/framed").headers["content-security-policy"] == "default-src 'self'"

    @pytest.mark.parametrize("path", ["/api/v1/auth/x", "/api/v1/users/me", "/api/v1/auth/nowhere"])
    def test_tokens_and_persons_are_not_stored(self, client: TestClient, path: str) -> None:
        assert client.get(path).headers["cache-control"] == "no-store"

    def test_others_may_be(self, client: TestClient) -> None:
        assert "cache-control" not in client.get("/api/v1/authors").headers


class TestBodyLimit:
    @pytest.mark.parametrize("size", [0, 1, LIMIT])
    def test_up_to_the_limit(self, client: TestClient, size: int) -> None:
        assert client.post("/length", content=b"x" * size).json() == size

    @pytest.mark.parametrize("path", ["/length", "/json", "/nowhere", "/id"])
    def test_a_sized_body_beyond_it(self, client: TestClient, path: str) -> None:
        answer = client.post(path, content=b"x" * (LIMIT + 1), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert "connection" not in answer.headers

    @pytest.mark.parametrize("path", ["/length", "/json"])
    def test_a_chunked_body_beyond_it(self, client: TestClient, path: str) -> None:
        def chunks() -> Iterator[bytes]:
            for _ in range(10):
                yield b"x" * 1000

        answer = client.post(path, content=chunks(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize("header", [(b"expect", b"100-continue"), (b"x-none", b"")])
    def test_one_that_is_hopelessly_large_is_not_read(
        self, monkeypatch: pytest.MonkeyPatch, header: tuple[bytes, bytes]
    ) -> None:
        if header[0] != b"expect":
            monkeypatch.setattr(middleware, "_DRAIN_BYTES", 4096)
        sent = call({"headers": [(b"content-length", b"9999"), header]}, [])
        assert sent[0]["status"] == 413
        assert (b"connection", b"close") in sent[0]["headers"]

    def test_a_client_that_lies_about_the_rest_does_not_hold_us(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(middleware, "_DRAIN_BYTES", 4096)
        part = {"type": "http.request", "body": b"x" * 3000, "more_body": True}
        sent = call({"method": "POST", "path": "/length"}, [part] * 20)
        assert sent[0]["status"] == 413
        assert (b"connection", b"close") in sent[0]["headers"]


class TestTarget:
    @pytest.mark.parametrize(
        "scope",
        [
            {"path": "/things/a\x00b"},
            {"query_string": b"a=%00"},
            {"query_string": b"a=\xff\xfe"},
            {"query_string": b"a=\x00"},
        ],
    )
    def test_nul_and_raw_bytes_are_400(self, scope: dict[str, Any]) -> None:
        sent = call(scope, [])
        assert sent[0]["status"] == 400
        assert (b"content-type", b"application/problem+json") in sent[0]["headers"]


class TestMetrics:
    def test_count_by_template_and_not_by_path(self, client: TestClient) -> None:
        for number in range(3):
            client.get(f"/things/{number}")
        client.get("/no/such/path")
        client.request("BREW", "/things/1")
        text = exposition(list).decode()
        assert 'http_requests_total{method="GET",route="/things/{thing}",status="200"} 3.0' in text
        assert 'http_requests_total{method="GET",route="unmatched",status="404"}' in text
        assert 'method="other"' in text
        assert "BREW" not in text
        assert "/no/such/path" not in text
