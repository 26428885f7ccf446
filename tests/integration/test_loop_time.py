"""No request keeps the event loop from running for long, whatever its body, its query or its answer.

`tests/support/loop_probe.py` measures in CPU time, and each stretch is compared with a computation that the same process
makes then, so that neither the load nor the speed of the machine counts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.api.deps import check_token, oauth2_scheme
from app.api.http.body_route import BodyRoute, bound_bodies
from app.api.routes import add_routes
from app.core.config import Settings
from tests.support.accounts import API, PASSWORD, bearer, login
from tests.support.loop_probe import PATH
from tests.support.page_forms import ROUTES as FORMS, fields_of, path_of as form_path
from tests.support.page_reader import SAME
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.task_client import BODY
from tests.support.tasks import LONG_RUNNING

# On the machine where this was written, the reference takes 3 ms: 100,000 empty objects are parsed.
BOUND = 6.0
# Of all that the loop does for one request: half as long.
BUSY = 3.0
TRIES = 4
KILO, MEGA = 1024, 1024 * 1024
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
ANSWERS = {303, 400, 403, 404, 413, 415, 422, 429}  # of a form of the pages
TASK_TOOL = LONG_RUNNING.replace(".", "-")
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nc\r\n'
LONG = 31_900  # of a field of a header: 32 KiB are the limit of all
FIELDS = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Content-Digest", "Content-Type", "Cookie"),
    *("Expect", "Forwarded", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Origin"),
    *("Prefer", "Range", "Referer", "Sec-Fetch-Site", "Traceparent", "X-Forwarded-For", "X-Forwarded-Proto"),
    *("Host", "X-Request-ID"),
)
BEGINNINGS = {
    "Authorization": ("x", "Bearer ", "Bearer eyJ"),
    "Content-Digest": ("x", "sha-256=", "sha-256=:"),
    "Content-Type": ("x", "multipart/form-data; boundary=x; charset=utf-8"),
    "Range": ("x", "bytes=", "bytes=1"),
}  # by the field, of what is repeated; others have none
REPEATED = (";", ",", "=", '"', "\\", " ", "; a=b", ", a;q=1", "a", "1.", 'W/"', "[")
MCP = {"Accept": "application/json, text/event-stream"}
ITEMS = {
    "objects": b"{},", "lists": b"[],", "nested lists": b"[[]],", "numbers": b"1,", "floats": b"1.5,", "texts": b'"",',
    "escapes": b'"\\u00e9",', "members": b'{"a":1},', "long numbers": b"9" * 4200 + b",",
}  # fmt: skip


def routes() -> list[BodyRoute]:
    """Every route that reads a body, under the path of the documentation."""
    app = FastAPI()
    add_routes(app)
    bound_bodies(app.router.routes, Settings(), oauth2_scheme, check_token)
    return [
        route
        for route in app.router.routes
        if isinstance(route, BodyRoute) and route.body_field and route.include_in_schema
    ]


ROUTES = {f"{min(route.methods)} {route.path_format}": route for route in routes()}


@dataclass
class Loop:
    stack: Stack
    http: httpx.Client
    user: str
    admin: str
    name: str  # of the administrator
    cookie: str = ""  # of the administrator's login at the pages

    def request(
        self, method: str, path: str, content: bytes | None = None, kind: str = JSON, token: str | None = None,
        *, is_short: bool = False, **more: Any,
    ) -> httpx.Response:  # fmt: skip
        """Make the request, and assert that the loop ran on meanwhile; with `is_short`, that it did little for it."""
        token = self.admin if token is None else token
        headers = {
            **(bearer(token) if token else {}),
            **({"Content-Type": kind} if content is not None else {}),
            **more,
        }
        seen: list[float] = []
        for _ in range(TRIES):
            self.http.get(PATH)
            answer = self.http.request(method, path, content=content, headers=headers)
            measured = self.http.get(PATH).json()
            assert answer.status_code < 500, answer.text[:300]
            seen.append(measured["longest"] / measured["reference"])
            if is_short:
                seen[-1] = max(seen[-1], measured["busy"] / measured["reference"] * BOUND / BUSY)
            if seen[-1] <= BOUND:
                return answer
        raise AssertionError(
            f"{method} {path[:60]} {kind[:40]} {content and content[:60]!r}: the loop stood still for {min(seen):.1f} references"
        )

    def form(self, path: str, content: bytes, kind: str = FORM) -> httpx.Response:
        """Send a form of the pages as their reader's browser does, and assert the same."""
        if not self.cookie or self._page("GET", "/ui/account").status_code != 200:  # a form has ended the login
            body = {"username": self.name, "password": PASSWORD}
            (self.cookie,) = self._page("POST", "/ui/sign-in", data=body).headers.get_list("set-cookie")
            self.cookie = self.cookie.partition(";")[0]
            self.http.cookies.clear()
        answer = self.request("POST", f"/ui{path}", content, kind, token="", Cookie=self.cookie, **SAME)
        if self.http.get(f"{API}/users/me", headers=bearer(self.admin)).status_code == 401:  # it ends all other logins
            self.admin = login(self.http, self.name)["access_token"]
        return answer

    def _page(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, path, headers={"Cookie": self.cookie, **SAME}, **options)


@pytest.fixture(scope="module")
def loop(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with Stack(services, tmp_path_factory.mktemp("loop"), WEB_UI="true", MCP_ENABLED="true") as stack:
        stack.server_application = "tests.support.loop_probe:app"
        (_, user), (admin, token) = (stack.make_user(role) for role in ("user", "admin"))
        with httpx.Client(base_url=stack.url, timeout=60) as http:
            yield Loop(stack, http, user, token, admin["username"])


def filled(item: bytes, size: int) -> bytes:
    """A JSON array of so many bytes."""
    return b"[" + (item * (size // len(item)))[:-1] + b"]"


def members(size: int, name: str = "k") -> bytes:
    """A JSON object of so many bytes."""
    return (
        b"{" + b",".join(b'"%s%06d":1' % (name.encode(), number) for number in range(size // (len(name) + 11))) + b"}"
    )


def task_with(field: str, value: bytes) -> bytes:
    rest = json.dumps({key: item for key, item in BODY.items() if key != field})
    return b'%s, "%s": %s}' % (rest[:-1].encode(), field.encode(), value)


def path_of(route: APIRoute) -> str:
    return route.path_format.format(**{name: uuid4() for name in route.param_convertors})


def model_of(route: APIRoute) -> type[BaseModel]:
    assert route.body_field is not None
    annotation = route.body_field.field_info.annotation
    model = get_args(annotation)[0] if get_args(annotation) else annotation  # a body that may be left out
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


@pytest.mark.parametrize("name", ROUTES)
class TestEveryRouteWithABody:
    def test_without_a_token_and_with_a_bad_one(self, loop: Loop, name: str) -> None:
        route = ROUTES[name]
        for token in ("", "bad", "tsk_bad"):
            for content in (members(2 * MEGA - KILO), filled(b"{},", 2 * MEGA - KILO)):
                answer = loop.request(min(route.methods), path_of(route), content, token=token)
                assert answer.status_code in {401, 413}
                assert len(answer.content) < KILO

    def test_with_hostile_json(self, loop: Loop, name: str) -> None:
        route = ROUTES[name]
        size = route.max_bytes - KILO
        bodies = [
            members(size),
            filled(b"{},", size),
            filled(b"1,", size),
            b"[" * size,
            b'{"a":"' + b"\\n" * (size // 2),
        ]
        for field in model_of(route).model_fields:
            bodies += [b'{"%s":%s}' % (field.encode(), value) for value in (filled(b"{},", size), filled(b"1,", size))]
            bodies.append(b'{"%s":%s}' % (field.encode(), filled(members(800) + b",", size)))
        for content in bodies:
            answer = loop.request(min(route.methods), path_of(route), content)
            assert answer.status_code in {400, 401, 404, 413, 415, 422}
            assert len(answer.content) < 20 * KILO

    def test_with_forms(self, loop: Loop, name: str) -> None:
        route = ROUTES[name]
        for size in (route.max_bytes - KILO, 2 * MEGA - KILO):
            for content, kind in (
                (b"a=1&" * (size // 4), FORM), (b"&" * size, FORM), (b"%41" * (size // 3), FORM),
                (PART * (size // len(PART)) + b"--x--\r\n", MULTIPART), (b"\xff" * size, "text/plain"),
            ):  # fmt: skip
                answer = loop.request(min(route.methods), path_of(route), content, kind)
                assert answer.status_code in {400, 401, 404, 413, 415, 422}


@pytest.mark.parametrize("path", FORMS)
def test_every_form_of_the_pages(loop: Loop, path: str) -> None:
    route = FORMS[path]
    size = route.max_bytes - KILO
    begun = f"celery_task_name={LONG_RUNNING}&name=x&by=json&json=".encode()
    for content in (
        begun + b"%22" + b"%5B" * (size // 3 - 50),
        begun + b"[" * (size - 300),
        *(b"%s=" % name.encode() + b"%C3%28" * (size // 6 - 20) for name in fields_of(route)),
        b"a=1&" * (size // 4),
        b"&" * size,
    ):
        assert loop.form(form_path(route), content).status_code in ANSWERS
    parts = PART * (size // len(PART)) + b"--x--\r\n"
    assert loop.form(form_path(route), parts, MULTIPART).status_code in ANSWERS


class TestLargeTasks:
    """As large as they may be: they are accepted, read and changed."""

    @pytest.mark.parametrize("kind", ITEMS)
    def test_of_many_values(self, loop: Loop, kind: str) -> None:
        item = ITEMS[kind]
        # As many values as are allowed; arrays and objects count twice, digits by the thousand.
        weight = item.count(b",") + item.count(b"[") + item.count(b"{") + len(item) // 1000 * 1000
        size = min(240 * KILO, 99_000 // weight * len(item))
        created = loop.request("POST", f"{API}/tasks/", task_with("kwargs", b'{"param":%s}' % filled(item, size)))
        assert created.status_code == 201, created.text[:300]
        path = f"{API}/tasks/{created.json()['id']}"
        assert loop.request("GET", path).json() == created.json()
        assert loop.request("PATCH", path, b'{"name": "x"}').status_code == 200
        changed = loop.request("PATCH", path, b'{"metadata": {"x": %s}}' % filled(item, min(size, 30 * KILO)))
        assert changed.status_code == 200
        refused = loop.request("POST", f"{API}/tasks/", task_with("args", filled(item, 1800 * KILO)))
        assert refused.json()["errors"][0]["type"] in {"too_many_values", "json_too_large"}

    @pytest.mark.parametrize("name", ["k", "password"])
    def test_of_many_names(self, loop: Loop, name: str) -> None:
        content = task_with("kwargs", b'{"param":%s}' % members(240 * KILO, name))
        created = loop.request("POST", f"{API}/tasks/", content)
        assert created.status_code == 201
        assert loop.request("GET", f"{API}/tasks/{created.json()['id']}").status_code == 200

    @pytest.mark.parametrize("param", ["x" * 1400, list(range(10, 80)), [[]] * 30], ids=["text", "numbers", "lists"])
    def test_in_a_batch(self, loop: Loop, param: Any) -> None:
        body = {"tasks": [BODY | {"kwargs": {"param": param}}] * 1000}
        answer = loop.request("POST", f"{API}/tasks/batch", json.dumps(body, separators=(",", ":")).encode())
        assert answer.status_code == 201, answer.text[:300]
        assert loop.request("GET", f"{API}/tasks/?limit=200").status_code == 200

    @pytest.mark.parametrize("item", [b"{},", members(80 * 12) + b",", b"1,"])
    def test_in_a_batch_of_which_all_are_refused(self, loop: Loop, item: bytes) -> None:
        answer = loop.request("POST", f"{API}/tasks/batch", b'{"tasks":%s}' % filled(item, 1000 * len(item)))
        assert answer.status_code == 422
        assert len(answer.content) < 20 * KILO

    def test_of_many_errors_in_their_arguments(self, loop: Loop) -> None:
        answer = loop.request("POST", f"{API}/tasks/", task_with("args", filled(b"{},", 120 * KILO)))
        assert answer.status_code == 422

    def test_whose_result_is_text(self, loop: Loop) -> None:
        created = loop.request("POST", f"{API}/tasks/", json.dumps(BODY).encode()).json()
        loop.stack.sql("UPDATE tasks SET result = :text WHERE id = :id", text=json.dumps("x" * MEGA), id=created["id"])
        assert len(loop.request("GET", f"{API}/tasks/{created['id']}").content) > MEGA


@pytest.mark.parametrize(
    "query",
    [
        "tag=a&" * 5000, "status=failed&" * 2000, "status=x&" * 3000, "a=1&" * 7500, "&" * 30_000, "cursor=" + "a" * 30_000,
        "a=" * 15_000, "%41" * 10_000, "name=" + "a" * 30_000, "created_after=" + "1" * 30_000, "limit=" + "9" * 30_000,
        "tag=" + "%F0%9F%91%8D" * 2500, "user_id=" + "0" * 30_000,
    ],
    ids=lambda query: query[:16],
)  # fmt: skip
def test_queries(loop: Loop, query: str) -> None:
    for path in ("tasks/", "tasks/count", "users/", "audit"):
        assert loop.request("GET", f"{API}/{path}?{query}").status_code in {200, 422}


@pytest.fixture(scope="module")
def content(loop: Loop) -> str:
    """The path of the bytes of a file."""
    answer = loop.http.post(f"{API}/files/", files={"file": ("a.txt", b"a" * 100)}, headers=bearer(loop.admin))
    return f"{API}/files/{answer.json()['id']}/content"


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_the_header(loop: Loop, content: str, field: str) -> None:
    for method, path in (("GET", content), ("GET", "/ui/sign-in"), ("POST", "/ui/sign-in"), ("POST", f"{API}/files/")):
        is_open = path.startswith("/ui") or field == "Authorization"
        for begun in BEGINNINGS.get(field, ("x",)):
            for repeated in REPEATED:
                value = begun + repeated * ((LONG - len(begun)) // len(repeated)) + "x"
                body = None if method == "GET" else b"a"
                answer = loop.request(
                    method, path, body, FORM, "" if is_open else loop.admin, is_short=True, **{**SAME, field: value}
                )
                assert answer.status_code < 500


def call_with(arguments: bytes, method: str = "tools/call", more: bytes = b"") -> bytes:
    """A request of JSON-RPC."""
    name = TASK_TOOL.encode()
    return b'{"jsonrpc":"2.0","id":1,"method":"%s","params":{"name":"%s","arguments":%s%s}}' % (
        method.encode(), name, arguments, more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def key(loop: Loop) -> str:
    body = {"name": "mcp", "scopes": ["tasks:read", "tasks:write"]}
    return str(loop.http.post(f"{API}/auth/api-keys", json=body, headers=bearer(loop.user)).json()["key"])


class TestMcp:
    @pytest.mark.parametrize("item", [b"{},", b'{"a":1},', b"1,"], ids=["objects", "members", "numbers"])
    @pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
    def test_large_bodies(self, loop: Loop, key: str, item: bytes, version: str) -> None:
        values = filled(item, 98_000 // (item.count(b",") + item.count(b"{")) * len(item))
        info = b',"protocolVersion":"2025-06-18","clientInfo":{"name":"x","version":"1"}'
        hostile = {
            "tools/call": call_with(b'{"param":%s}' % values),
            "a list of arguments": call_with(values),
            "an unknown tool": call_with(b'{"x":%s}' % values).replace(TASK_TOOL.encode(), b"unknown"),
            "get_task": call_with(b'{"x":%s}' % values).replace(TASK_TOOL.encode(), b"get_task"),
            "_meta": call_with(b"{}", more=b',"_meta":{"x":%s}' % values),
            "initialize": call_with(b"{}", "initialize", info + b',"capabilities":{"experimental":{"x":%s}}' % values),
            "ping": call_with(b"{}", "ping", b',"_meta":{"x":%s}' % values),
            "tools/list": call_with(b"{}", "tools/list", b',"x":%s' % values),
            "no request": b'{"jsonrpc":"2.0","x":%s}' % values,
            "a result": b'{"jsonrpc":"2.0","id":1,"result":{"x":%s}}' % values,
            "a batch": values,
        }
        for what, content in hostile.items():
            fields = {**MCP, "MCP-Protocol-Version": version}
            answer = loop.request("POST", "/mcp", content, token=key, is_short=True, **fields)
            assert answer.status_code in ({200, 400} if what in {"tools/call", "an unknown tool"} else {413, 422}), what
            assert len(answer.content) < 20 * KILO


@pytest.mark.parametrize("path", ["tasks/" + "a/" * 15_000, "tasks/" + "a" * 30_000, "%2f" * 10_000])
def test_paths(loop: Loop, path: str) -> None:
    assert loop.request("GET", f"{API}/{path}").status_code in {404, 422}


@pytest.mark.parametrize("path", ["users/me", "tasks/", "nowhere"])
def test_a_body_that_nobody_asked_for(loop: Loop, path: str) -> None:
    assert loop.request("GET", f"{API}/{path}", members(2 * MEGA - KILO)).status_code in {200, 404}
