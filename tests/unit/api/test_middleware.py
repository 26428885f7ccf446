"""Request ids, headers, limits, metrics: around a small application."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient
from starlette.types import Message

from app.api.http import requests
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.middleware import Cors, RequestContext, RequestLimits, RequestMetrics, UnhandledErrors
from app.core import logging as app_logging
from app.core.metrics import TaskNumbers, exposition
from tests.support.tables import check_rows

LIMIT = 2048

app = FastAPI(redirect_slashes=False)
add_problem_handlers(app)
app.add_middleware(RequestLimits, max_body_bytes=LIMIT)
app.add_middleware(RequestMetrics)
app.add_middleware(UnhandledErrors)
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


@app.get("/broken")
async def broken() -> str:
    raise RuntimeError("on purpose")


@app.get("/framed")
async def framed() -> Response:
    return Response("x", headers={"Content-Security-Policy": "default-src 'self'"})


@app.get("/api/v1/auth/x")
@app.get("/api/v1/users/me")
@app.get("/api/v1/authors")
async def named() -> str:
    return "x"


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
    def test_a_given_one_is_kept(self, client: TestClient) -> None:
        for given in ("abc-1.2_3", "x" * 64):
            answer = client.get("/id", headers={"X-Request-ID": given})
            assert answer.headers["x-request-id"] == answer.json() == given

    def test_a_strange_one_is_replaced(self, client: TestClient) -> None:
        def check(given: bytes) -> None:
            shown = client.get("/id", headers=[(b"X-Request-ID", given)]).headers["x-request-id"]
            assert shown.encode("latin-1") != given
            assert len(shown) == 32

        check_rows(check, [b"", b"x" * 65, b"a b", b"<script>", b"a\tb", "idé".encode()])

    def test_each_request_has_its_own(self, client: TestClient) -> None:
        assert client.get("/id").json() != client.get("/id").json()


class TestHeaders:
    def test_every_answer_has_them(self, client: TestClient) -> None:
        for path in ("/id", "/nowhere"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"].startswith("default-src 'none'")

    def test_a_page_may_have_a_policy_of_its_own(self, client: TestClient) -> None:
        assert client.get("/framed").headers["content-security-policy"] == "default-src 'self'"

    def test_caches_get_no_tokens_and_no_personal_data(self) -> None:
        stored = {
            "/api/v1/auth/x": "no-store", "/api/v1/auth/nowhere": "no-store", "/api/v1/users/me": "no-store",
            "/api/v1/tasks/x": "private, no-cache", "/api/v1/tasks": "private, no-cache", "/api/v1/tasksets": "no-store",
            "/mcp": "no-store", "/mcp/x": "no-store", "/mcpx": None, "/id": None,
        }  # fmt: skip
        for prefix in ("", "/svc"):
            client = TestClient(app, root_path=prefix)
            assert {path: client.get(prefix + path).headers.get("cache-control") for path in stored} == stored


class TestBodyLimit:
    def test_up_to_the_limit(self, client: TestClient) -> None:
        sizes = [0, 1, LIMIT]
        assert [client.post("/length", content=b"x" * size).json() for size in sizes] == sizes

    def test_a_body_beyond_it(self, client: TestClient) -> None:
        def check(path: str, is_sized: bool) -> None:
            content = b"x" * (LIMIT + 1) if is_sized else iter([b"x" * 1000] * 10)
            answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
            assert not is_sized or "connection" not in answer.headers

        sized = [(path, True) for path in ("/length", "/json", "/nowhere", "/id")]
        check_rows(check, [*sized, ("/length", False), ("/json", False)])

    @pytest.mark.parametrize(
        ("drained", "headers", "parts"),
        [
            pytest.param(
                1_000_000, [(b"content-length", b"9999"), (b"expect", b"100-continue")], 0, id="expecting 100"
            ),
            pytest.param(4096, [(b"content-length", b"9999")], 0, id="larger than is drained"),
            pytest.param(4096, [], 20, id="of unknown length"),
        ],
    )
    def test_a_body_far_beyond_it_is_not_read_to_its_end(
        self, monkeypatch: pytest.MonkeyPatch, drained: int, headers: list[tuple[bytes, bytes]], parts: int
    ) -> None:
        monkeypatch.setattr(requests, "DRAIN_BYTES", drained)
        part = {"type": "http.request", "body": b"x" * 3000, "more_body": True}
        sent = call({"method": "POST", "path": "/length", "headers": headers}, [part] * parts)
        assert sent[0]["status"] == 413
        assert (b"connection", b"close") in sent[0]["headers"]


def refused(scope: dict[str, Any]) -> bool:
    """Whether the answer is a problem of status 400."""
    (start, *_) = call(scope, [])
    return start["status"] == 400 and (b"content-type", b"application/problem+json") in start["headers"]


class TestTarget:
    def test_nul_and_raw_bytes_are_400(self) -> None:
        scopes = [
            *({"query_string": query} for query in (b"a=%00", b"a=\xff\xfe", b"a=\x00")),
            {"path": "/things/a\x00b"},
        ]
        check_rows(refused, scopes)


@pytest.mark.parametrize(
    "name", ["Authorization", "Content-Type", "Host", "Idempotency-Key", "Last-Event-ID", "Origin"]
)
def test_a_field_that_has_one_value_stands_there_once(client: TestClient, name: str) -> None:
    """Else a proxy may have checked another one of the two than the one that counts."""
    answer = client.get("/id", headers=[(name, "a"), (name.lower(), "b")])
    assert (answer.status_code, answer.json()["detail"]) == (400, f"The request must have at most one {name} header")


class TestHeaderLimit:
    def test_headers_and_target_beyond_it_are_431(self) -> None:
        def check(scope: dict[str, Any]) -> None:
            sent = call(scope, [])
            assert sent[0]["status"] == 431
            assert json.loads(sent[1]["body"])["code"] == "headers_too_large"

        check_rows(check, [
            {"headers": [(b"a", b"x" * 32_768)]}, {"headers": [(b"a" * 32_768, b"")]},
            {"headers": [(b"a", b"x" * 1000)] * 33}, {"headers": [(b"a", b"")] * 101},
            {"path": "/" + "x" * 33_000}, {"query_string": b"x" * 33_000},
        ])  # fmt: skip

    def test_within_it(self) -> None:
        headers = [(b"a", b"x" * 327)] * 99
        assert call({"headers": headers}, [])[0]["status"] == 200


class TestHost:
    def test_a_malformed_one_is_400(self) -> None:
        hosts = [
            b"", b" ", b"a b", b"a/b", b"a@b", b"a,b", b"a:b", b"a:", b"a:99999", b"a:123456", b"[::1", b"::1", b"[1]",
            b"a?b", b"a#b", b"a\\b", b"a%00b", b"\xff", "é.example".encode(), b"<script>", b'a"b', b"x" * 254,
        ]  # fmt: skip
        check_rows(lambda host: refused({"headers": [(b"host", host)]}), hosts)

    def test_a_well_formed_one_is_served(self) -> None:
        hosts = [b"a", b"A.example:8000", b"127.0.0.1:1", b"[::1]:8000", b"a_b.example.", b"a:0"]
        check_rows(lambda host: call({"headers": [(b"host", host)]}, [])[0]["status"] == 200, hosts)

    def test_http_1_1_needs_exactly_one(self) -> None:
        assert refused({"headers": [(b"host", b"a"), (b"host", b"a")]})
        assert refused({"http_version": "1.1"})
        assert call({"http_version": "1.0"}, [])[0]["status"] == 200

    def test_with_a_list_only_those_of_the_list(self) -> None:
        allowed = ["tasks.example.com", "*.internal.example", "[::1]"]
        client = TestClient(RequestLimits(app, LIMIT, allowed_hosts=allowed))

        def check(host: str, served: bool) -> None:
            for forwarded in ({}, {"X-Forwarded-Host": "tasks.example.com"}):
                assert (client.get("/id", headers={"Host": host} | forwarded).status_code == 200) is served

        check_rows(check, [
            ("tasks.example.com", True), ("TASKS.example.com:443", True), ("tasks.example.com.", True),
            ("a.b.internal.example", True), ("internal.example", False), ("notinternal.example", False),
            ("tasks.example.com.evil.example", False), ("evil.example", False), ("127.0.0.1", False), ("[::1]", True),
        ])  # fmt: skip

    def test_probes_are_asked_by_address(self) -> None:
        client = TestClient(RequestLimits(app, LIMIT, allowed_hosts=["tasks.example.com"]), root_path="/svc")
        for path, status in (("/healthz", 404), ("/readyz", 404), ("/healthz/x", 400), ("/id", 400)):
            assert client.get(f"/svc{path}", headers={"Host": "10.0.0.7:8000"}).status_code == status, path


class TestUploads:
    def test_have_a_limit_of_their_own_below_a_prefix_too(self) -> None:
        """Without a route nothing of the body is read: Content-Length alone says that it is too large."""
        client_of = partial(TestClient, RequestLimits(FastAPI(), LIMIT, uploads={"/files": 3 * LIMIT}))
        for prefix in ("", "/svc", "/svc/", "/files"):
            client, base = client_of(root_path=prefix), prefix.rstrip("/")
            paths = {"/files": 404, "/files/": 404, "/tasks": 413, "/files/x": 413, f"{base}/tasks": 413}
            sent = {path: client.post(f"{base}{path}", content=b"x" * 2 * LIMIT).status_code for path in paths}
            assert sent == paths, prefix
            assert client.post(f"{base}/files", content=b"x" * 4 * LIMIT).status_code == 413, prefix


class TestHsts:
    def test_over_https_where_it_is_wanted(self) -> None:
        for hsts, scheme, told in ((True, "https", True), (True, "http", False), (False, "https", False)):
            client = TestClient(RequestContext(app, hsts=hsts), base_url=f"{scheme}://testserver")
            for path in ("/id", "/nowhere"):
                assert ("strict-transport-security" in client.get(path).headers) is told, (hsts, scheme, path)


class TestCors:
    ORIGIN = "https://app.example.com"

    @pytest.fixture
    def client(self) -> TestClient:
        return TestClient(RequestContext(Cors(UnhandledErrors(app), [self.ORIGIN])))

    def test_answers_and_errors_alike_may_be_read_by_a_named_origin(self, client: TestClient) -> None:
        def check(path: str) -> None:
            answer = client.get(path, headers={"Origin": self.ORIGIN})
            assert answer.headers["access-control-allow-origin"] == self.ORIGIN
            assert "Origin" in answer.headers["vary"]
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"ETag", "Link", "Location", "Retry-After", "X-Request-ID"} <= {*exposed}
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"

        check_rows(check, ["/id", "/nowhere", "/broken"])

    def test_too_large_a_body_too(self, client: TestClient) -> None:
        answer = client.post("/length", content=b"x" * (LIMIT + 1), headers={"Origin": self.ORIGIN})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (413, self.ORIGIN)

    def test_no_other_origin(self, client: TestClient) -> None:
        def check(origin: str) -> None:
            assert "access-control-allow-origin" not in client.get("/id", headers={"Origin": origin}).headers
            answer = client.options("/id", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
            assert "access-control-allow-origin" not in answer.headers

        named = self.ORIGIN
        others = [
            "https://evil.example",
            "null",
            f"{named}.evil.example",
            f"{named}:444",
            named.replace("https", "http"),
        ]
        check_rows(check, others)

    def test_a_preflight_of_a_named_origin(self, client: TestClient) -> None:
        asked = {
            "Origin": self.ORIGIN,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key, if-match",
        }
        answer = client.options("/nowhere", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == self.ORIGIN
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.options("/id", headers=asked | {"Access-Control-Request-Method": "TRACE"}).status_code == 400
        assert client.options("/id", headers=asked | {"Access-Control-Request-Headers": "x-other"}).status_code == 400


class TestMetrics:
    def test_count_by_template_and_not_by_path(self, client: TestClient) -> None:
        for number in range(3):
            client.get(f"/things/{number}")
        client.get("/no/such/path")
        client.request("BREW", "/things/1")
        text = exposition(TaskNumbers, list).decode()
        assert 'http_requests_total{method="GET",route="/things/{thing}",status="200"} 3.0' in text
        assert 'http_requests_total{method="GET",route="unmatched",status="404"}' in text
        assert 'method="other"' in text
        assert "BREW" not in text
        assert "/no/such/path" not in text


def test_a_content_type_that_takes_long_to_parse_is_400() -> None:
    def check(kind: bytes) -> None:
        assert refused({"headers": [(b"content-type", kind + b";" * 512)]})
        assert call({"headers": [(b"content-type", kind + b"; a=" + b"b" * 400)]}, [])[0]["status"] == 200

    check_rows(check, [b"multipart/form-data; boundary=x", b"text/plain", b"x"])


class TestCharsetOfAForm:
    def test_another_than_utf_8_is_400(self) -> None:
        def check(charset: bytes) -> None:
            for kind in (b"multipart/form-data", b"Multipart/Form-Data", b" multipart/form-data"):
                assert refused({"headers": [(b"content-type", kind + b"; boundary=x; " + charset)]})

        check_rows(check, [
            b"charset=punycode", b"charset=utf-7", b"charset=unicode_escape", b"CHARSET=IDNA", b"charset=", b"charset=latin-1",
            b'charset="utf-7"', b"charset=utf-8; charset=utf-7", b"charset",
        ])  # fmt: skip

    def test_all_else_is_served(self) -> None:
        kinds = [
            b"multipart/form-data; boundary=x", b"multipart/form-data; boundary=x; charset=utf-8", b"application/json",
            b"multipart/form-data; boundary=charset", b'multipart/form-data; boundary=x; charset="UTF-8"',
            b"text/plain; charset=latin-1", b"application/x-www-form-urlencoded; charset=punycode",
        ]  # fmt: skip
        check_rows(lambda kind: call({"headers": [(b"content-type", kind)]}, [])[0]["status"] == 200, kinds)
