"""Routes that read a body: the token comes first, the limit is the route's, a large body is refused as a small one is."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.testclient import TestClient
from starlette.types import Message

from app.api.deps import CurrentUser, check_token, oauth2_scheme
from app.api.http import body_route
from app.api.http.body_route import DEFAULT_BYTES, LARGE_JSON, BodyRoute, body_limit, bound_bodies
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.middleware import RequestLimits
from app.api.http.router import SlashRouter, add_plain
from app.api.routes import add_routes
from app.core.config import Settings, get_settings
from app.core.json_text import SMALL_BYTES
from app.core.security import create_access_token
from app.errors import InvalidToken
from app.models.task import TaskPriority
from app.models.user import Role
from app.schemas.base import MAX_FIELDS, RequestModel
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Proof, proof_of
from tests.support.services import SECRET_KEY
from tests.support.tables import check_rows

LIMIT = 64 * 1024
VALUES = 10_000
ANONYMOUS = {"/api/v1/auth/register", "/api/v1/auth/login", "/api/v1/auth/refresh"}
JSON = {"Content-Type": "application/json"}


class Thing(RequestModel):
    name: str
    parts: list[int] = Field(default_factory=list)


class Authenticator:
    """Knows one user. `asked` is what the database was asked of."""

    def __init__(self) -> None:
        self.asked: list[Proof] = []
        self.revoked = False

    async def authenticate(self, proof: Proof, _address: str = "") -> Principal:
        self.asked.append(proof)
        if self.revoked:
            raise InvalidToken
        return Principal(uuid4(), "anna", Role.USER, TaskPriority.CRITICAL)


authenticator = Authenticator()
router = SlashRouter()


@router.post("/open/")
async def open_to_all(thing: Thing, number: int = 0) -> str:
    return f"{thing.name} {len(thing.parts)} {number}"


@router.post("/guarded/")
@body_limit(lambda _: LIMIT)
async def guarded(_user: CurrentUser, thing: Thing, number: int = 0) -> str:
    return f"{thing.name} {len(thing.parts)} {number}"


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"authenticator": authenticator, LARGE_JSON: CapacityLimiter(1)}


def make_app() -> FastAPI:
    made = FastAPI(lifespan=lifespan)
    add_problem_handlers(made)
    made.add_middleware(RequestLimits, max_body_bytes=LIMIT * 2)
    router.add_to(made, "")
    bound_bodies(made.router.routes, Settings(max_body_bytes=LIMIT * 2), oauth2_scheme, check_token)
    return made


app = make_app()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setattr(body_route, "MAX_VALUES", VALUES)
    get_settings.cache_clear()
    authenticator.asked.clear()
    authenticator.revoked = False
    yield create_access_token(uuid4(), uuid4(), datetime.now(UTC))
    get_settings.cache_clear()


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as started:
        yield started


def post(client: TestClient, path: str, content: Any, token: str = "", **headers: str) -> Any:
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(path, content=content, headers={**JSON, **authorization, **headers})


def call(path: str, headers: dict[str, str], parts: list[bytes]) -> tuple[list[Message], int]:
    """The raw protocol. Returns what was sent, and how many parts of the body were read."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "scheme": "http", "http_version": "1.1",
        "headers": [(name.lower().encode(), value.encode()) for name, value in {"Host": "a", **JSON, **headers}.items()],
        "state": {"authenticator": authenticator},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent, len(parts) - len(waiting)


class TestToken:
    def test_a_bad_one_is_401_before_the_body_is_read(self, token: str) -> None:
        def check(given: dict[str, str]) -> None:
            for length in ({"Content-Length": "10"}, {"Content-Length": "60000"}, {}):
                sent, read = call("/guarded/", {**given, **length}, [b"{"] * 3)
                assert (sent[0]["status"], read, authenticator.asked) == (401, 0, [])

        values = ("Bearer", "Basic x", "Bearer x", "Bearer tsk_x", f"Bearer {token}x")
        check_rows(check, [{}, *({"Authorization": value} for value in values)])

    def test_a_revoked_one_is_401_before_a_large_body_is_read(self, token: str) -> None:
        authenticator.revoked = True
        for length in ({"Content-Length": str(SMALL_BYTES + 1)}, {}):
            authenticator.asked.clear()
            sent, read = call("/guarded/", {"Authorization": f"Bearer {token}", **length}, [b"{"] * 3)
            assert (sent[0]["status"], read, authenticator.asked) == (401, 0, [proof_of(token)])

    def test_a_small_body_costs_no_second_look(self, client: TestClient, token: str) -> None:
        assert post(client, "/guarded/", b'{"name": "x"}', token).json() == "x 0 0"
        assert authenticator.asked == [proof_of(token)]

    def test_is_looked_at_again_after_a_large_body(self, client: TestClient, token: str) -> None:
        assert post(client, "/guarded/", b'{"name": "x"}' + b" " * SMALL_BYTES, token).json() == "x 0 0"
        assert authenticator.asked == [proof_of(token)] * 2

    def test_who_waits_for_100_continue_has_the_connection_closed(self) -> None:
        for path, status in (("/guarded/", 401), ("/nowhere", 404)):
            sent, read = call(path, {"Content-Length": "10", "Expect": "100-continue"}, [b"{"])
            assert (sent[0]["status"], read) == (status, 0)
            assert (b"connection", b"close") in sent[0]["headers"]
            assert (b"connection", b"close") not in call(path, {"Content-Length": "10"}, [b"{"])[0][0]["headers"]


class TestBuilding:
    """FastAPI takes two milliseconds for a route, and there are 220."""

    def test_a_route_is_made_of_its_endpoint_at_its_first_use(self, token: str) -> None:
        made = make_app()
        with TestClient(made) as client:
            assert built(made) == set()
            assert post(client, "/open/", b'{"name": "x"}', token).status_code == 200
            assert built(made) == {"/open/"}
            assert client.get("/nowhere").status_code == 404
            assert client.get("/open/").status_code == 405
            assert built(made) == {"/open/"}

    def test_an_attribute_that_no_route_has_is_an_error_that_makes_none(self) -> None:
        made = make_app()
        assert not hasattr(made.router.routes[-1], "lane")
        assert built(made) == set()

    def test_a_route_of_another_class_is_made_at_the_start(self) -> None:
        class Told(APIRoute):
            pass

        plain = APIRouter(route_class=Told)
        plain.add_api_route("/told", lambda: None)
        made = FastAPI()
        add_plain(plain, made, "", BodyRoute)
        assert built(made) == {"/told", "/told/"}


def built(made: FastAPI) -> set[str]:
    """The paths of the routes of which FastAPI has read the endpoint."""
    return {route.path for route in made.router.routes if isinstance(route, BodyRoute) and "dependant" in vars(route)}


class TestLimit:
    def test_is_the_routes(self, client: TestClient, token: str) -> None:
        def check(path: str, limit: int) -> None:
            for size, status in ((limit, 200), (limit + 1, 413)):
                body = b'{"name": "x"}'.ljust(size)
                for content in (body, iter([body[:9], body[9:]])):
                    answer = post(client, path, content, token)
                    assert answer.status_code == status, answer.text
                    if status == 413:
                        assert answer.json()["detail"] == f"The body is larger than {limit} bytes"
                        assert answer.json()["code"] == "body_too_large"

        check_rows(check, [("/open/", DEFAULT_BYTES), ("/open", DEFAULT_BYTES), ("/guarded/", LIMIT)])

    def test_never_exceeds_that_of_all_bodies(self) -> None:
        small = make_app()
        bound_bodies(small.router.routes, Settings(max_body_bytes=1024), oauth2_scheme, check_token)
        assert {route.max_bytes for route in small.router.routes if isinstance(route, BodyRoute)} == {1024}

    def test_a_route_without_one_stops_the_start(self) -> None:
        unbounded = FastAPI()

        @unbounded.post("/x")
        async def create(thing: Thing) -> None: ...

        with pytest.raises(TypeError, match="route_class=BodyRoute"):
            bound_bodies(unbounded.router.routes, Settings(), oauth2_scheme, check_token)

    def test_of_routes_without_a_token_is_kilobytes(self) -> None:
        whole = FastAPI()
        add_routes(whole)
        bound_bodies(whole.router.routes, Settings(), oauth2_scheme, check_token)
        found = {
            route.path: route.max_bytes
            for route in whole.router.routes
            if isinstance(route, BodyRoute) and route.body_field
        }
        assert found.keys() >= ANONYMOUS
        assert {path: size for path, size in found.items() if path in ANONYMOUS and size > DEFAULT_BYTES} == {}


BODIES = {
    "valid": b'{"name": "x", "parts": [1, 2]}',
    "unknown field": b'{"name": "x", "more": 1}',
    "missing": b"{}",
    "wrong": b'{"name": 1, "parts": [1, "x", {}]}',
    "a list": b"[]",
    "null": b"null",
    "cut": b'{"name": "x',
    "two": b"{} {}",
    "no utf-8": b'{"name": "\xff"}',
    "5000 digits": b'{"name": ' + b"9" * 5000 + b"}",
    "deep": b'{"parts": ' + b"[" * 1500 + b"]" * 1500 + b"}",
    "too many fields": json.dumps({str(number): 1 for number in range(MAX_FIELDS + 1)}).encode(),
}


class TestLargeBody:
    def test_is_answered_as_a_small_one(self, client: TestClient, token: str) -> None:
        def check(name: str, query: str) -> None:
            body = BODIES[name]
            small, large = (
                post(client, f"/guarded/{query}", each, token) for each in (body, b" " * SMALL_BYTES + body)
            )
            if name in {"cut", "two", "no utf-8"}:  # the position is another one
                assert [each.json()["errors"][-1]["type"] for each in (small, large)] == ["json_invalid"] * 2
            else:
                assert (large.status_code, large.json()) == (small.status_code, small.json())

        check_rows(check, [(name, query) for name in BODIES for query in ("", "?number=7", "?number=x")])

    def test_is_not_looked_at_for_a_token_that_has_no_rights(self, client: TestClient, token: str) -> None:
        authenticator.revoked = True
        assert post(client, "/guarded/", BODIES["wrong"].ljust(SMALL_BYTES + 1), token).status_code == 401

    def test_of_too_many_values_is_one_error(self, client: TestClient, token: str) -> None:
        for item, most in ((b"1,", VALUES - 4), (b"[],", VALUES // 2 - 2)):
            for count, kind in ((most, None), (most + 5, "too_many_values")):
                body = b'{"name": "x", "parts": [%s]}' % (item * count)[:-1]
                answer = post(client, "/guarded/", body.ljust(SMALL_BYTES + 1), token)
                if kind is None:
                    assert answer.status_code == (200 if item == b"1," else 422)
                    assert "too_many_values" not in answer.text
                else:
                    assert (answer.status_code, [each["type"] for each in answer.json()["errors"]]) == (422, [kind])
                    assert answer.json()["errors"][0]["loc"] == ["body"]

    def test_of_commas_in_texts_is_not_counted(self, client: TestClient, token: str) -> None:
        name = ',[{"\\' * (VALUES // 2)
        answer = post(client, "/guarded/", json.dumps({"name": name}).encode(), token)
        assert answer.json() == f"{name} 0 0"


def test_thousands_of_unknown_fields_are_one_error(client: TestClient) -> None:
    answer = post(client, "/open/", json.dumps({f"k{number}": 1 for number in range(1000)}).encode())
    assert (answer.status_code, [each["type"] for each in answer.json()["errors"]]) == (422, ["too_many_fields"])
