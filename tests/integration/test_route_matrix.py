"""Who may call what: every route, for every caller.

What a caller gets follows from the permission that the route declares: `nobody`, without a token; `owner`, whose task,
key or login it is about; `stranger`, another user; and `admin`. Unknown is 401, not allowed 403, and what a caller may
not see is 404, as if it did not exist. A permission that was forgotten is seen by the lists of routes that need none.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from sqlalchemy import select, text

from app.api.http.openapi import openapi_document
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.live import watcher
from app.main import create_app
from app.models import StoredFile, User, WorkerProcess
from app.models.stored_file import FileState
from app.models.task import Task, TaskStatus
from app.schemas.task import TaskRead
from app.services.tasks import task_counts
from app.storage import key_of, storage
from tests.support import accounts
from tests.support.accounts import API, PASSWORD, bearer
from tests.support.amounts import amount
from tests.support.audit import recorded
from tests.support.bounds import bounded
from tests.support.by_example import options_of, resources
from tests.support.second_factors import begin
from tests.support.services import Services
from tests.support.tables import cases
from tests.support.task_client import BODY, shared_client
from tests.support.tasks import new_user, task_in

CALLERS = ("nobody", "owner", "stranger", "admin")
SCOPES = ("tasks:read", "tasks:write", "admin")
# What needs no permission, or none of these, is named here: an endpoint that forgets its own is in neither.
OPEN = {
    *(f"GET {path}" for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json")),
    *("GET /docs", "GET /docs/start.js", "GET /docs/{name}"),
    *(f"POST /api/v1/auth/{call}" for call in ("register", "login", "refresh")),
}
ANY = {"GET /api/v1/users/me"}
# What it names is of no user: whoever may make the call sees the same.
OF_NOBODY = {"GET /api/v1/queues/{name}/demand"}
# Who may make the call gets another status than the one of the route.
ANSWERS = {
    "POST /api/v1/users/me/totp/confirm": 404,
    "DELETE /api/v1/users/me/totp": 404,
    "GET /api/v1/users/me/webhook-secret": 409,
}
# An administrator reaches the objects of others, but not these; the last ones are read.
OF_THEIR_OWNER_ALONE = ("{session_id}", "{key_id}", "{webhook_id}")
READ_BY_ADMINISTRATORS = ("GET /api/v1/webhooks/{webhook_id}", "GET /api/v1/webhooks/{webhook_id}/deliveries")


def needs_of(operation: Mapping[str, Any]) -> str:
    """What the route declares: a scope, `any` of them, or a `login` instead of a key; `open` if nothing."""
    schemes = [(name, scopes) for each in operation.get("security", []) for name, scopes in each.items()]
    if not schemes:
        return "open"
    scopes = {scope for _, of_one in schemes for scope in of_one}
    return scopes.pop() if scopes else "any" if len(schemes) > 1 else "login"


def row_of(route: str, needs: str, success: int) -> tuple[int, ...]:
    """The status for each of CALLERS."""
    success = ANSWERS.get(route, success)
    if needs == "open":
        return (success,) * 4
    if needs == "admin":
        return (401, 403, 403, success)
    of_another = 404 if "{" in route and route not in OF_NOBODY else success
    is_closed = route not in READ_BY_ADMINISTRATORS and any(each in route for each in OF_THEIR_OWNER_ALONE)
    return (401, success, of_another, of_another if is_closed else success)


class Table(NamedTuple):
    """Of every route: the status for each of CALLERS, and what an API key needs."""

    document: dict[str, Any]
    needs: dict[str, str]
    rows: dict[str, tuple[int, ...]]


@cache
def table() -> Table:
    app = create_app()
    document = openapi_document(app)
    needs = {
        f"{method.upper()} {path}": needs_of(operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    needs |= {route: "open" for route in OPEN if route == "GET /metrics" or route not in needs}
    found = {
        route: success
        for route, success in routes(app).items()
        if _twin(route) not in routes(app).keys() & needs.keys()
    }
    return Table(document, needs, {route: row_of(route, needs.get(route, "none"), found[route]) for route in found})


def routes(app: FastAPI) -> dict[str, int]:
    """Every route of the application, but for the pages, with the status of its success."""
    found = {}
    for route in iter_route_contexts(app.routes):
        path = getattr(route, "path_format", None) or getattr(route, "path", "")
        if path != "/ui":
            methods = (route.methods or set()) - {"HEAD"}
            found |= {f"{method} {path}": getattr(route, "status_code", None) or 200 for method in methods}
    return found


def _twin(route: str) -> str:
    return route[:-1] if route.endswith("/") else f"{route}/"


ENDS_LOGINS = {"POST /api/v1/auth/logout", "DELETE /api/v1/auth/sessions", "PUT /api/v1/users/me/password"}
NO_TASK = {"ids": [str(UUID(int=0))]}
A_TASK = BODY | {"delay_seconds": 3600}


class World:
    """Everybody on one deployment. What a call is about is made for that call."""

    def __init__(self, http: httpx.Client, users: dict[str, str]) -> None:
        self.http, self._users = http, users
        self._numbers = itertools.count(1)
        self._tokens: dict[str, str] = {}
        self._above: dict[str, str] = {}  # what stands in the path of the call that is prepared

    def key(self, caller: str, *scopes: str) -> str:
        body = {"name": "machine", "scopes": scopes}
        answer = self.call(caller, "POST", f"{API}/auth/api-keys", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def ask(self, token: str | None, route: str) -> httpx.Response:
        """The route as its table row has it, about a new object, with this token."""
        (answer,) = self.ask_as(route, token)
        return answer

    def ask_as(self, route: str, *tokens: str | None, options: dict[str, Any] | None = None) -> list[httpx.Response]:
        """The same with each of these tokens, about one new object; with `options` in the place of the table's."""
        ask = self.prepared(route, options)
        return [ask(token) for token in tokens]

    def prepared(
        self, route: str, options: dict[str, Any] | None = None
    ) -> Callable[[str | None], httpx.Response]:  # fmt: skip
        """Make what the call is about. What is returned makes the call, with a token."""
        method, template = route.split()
        self._above = {}
        for name in re.findall(r"\{(\w+)\}", template):
            self._above[name] = getattr(self, name, partial(self.by_example, name))(route)
        path = template.format(**self._above)
        options = options or self.options(route)

        def ask(token: str | None) -> httpx.Response:
            answer = self.http.request(method, path, headers=bearer(token) if token else {}, **options)
            # Where a known caller is unknown now, this row fails, and not all behind it.
            if route in ENDS_LOGINS or (token and answer.status_code == 401):
                self._tokens.clear()
            return answer

        return ask

    def token(self, caller: str) -> str:
        """Of a login that stands."""
        if caller not in self._tokens:
            self._tokens[caller] = self.login(caller)["access_token"]
        return self._tokens[caller]

    def login(self, caller: str) -> dict[str, Any]:
        return accounts.login(self.http, self._users[caller])

    def call(self, caller: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {} if caller == "nobody" else bearer(self.token(caller))
        return self.http.request(method, path, headers=headers, **options)

    def made(self, path: str, **body: Any) -> str:
        """The id of a new object of the owner's."""
        answer = self.call("owner", "POST", f"{API}{path}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    # What stands in a path.

    def task_id(self, route: str) -> str:
        """A pending task, or one that has ended where only such a one will do."""
        task_id = self.made("/tasks/", **A_TASK)
        if route.endswith("/retry") or route.startswith("DELETE"):
            assert self.call("owner", "POST", f"{API}/tasks/{task_id}/cancel").status_code == 200
        return task_id

    def workflow_id(self, route: str) -> str:
        """A pending one, or one that has ended where only such a one will do."""
        workflow_id = self.made("/workflows/", name="w", tasks=[A_TASK | {"ref": "a"}])
        if route.endswith("/retry") or route.startswith("DELETE"):
            assert self.call("owner", "POST", f"{API}/workflows/{workflow_id}/cancel").status_code == 200
        return workflow_id

    def deed_id(self, _route: str) -> str:
        """One that runs: nothing does it here."""
        with SessionLocal.begin() as db:
            db.execute(text("DELETE FROM bulk_deeds"))  # QUOTA_BULK_DEEDS of them may run
        answer = self.call("owner", "POST", f"{API}/tasks/bulk/cancel", json=NO_TASK)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def key_id(self, _route: str) -> str:
        return self.made("/auth/api-keys", name="of the owner", scopes=["tasks:read"])

    def session_id(self, _route: str) -> str:
        logins = self.http.get(f"{API}/auth/sessions", headers=bearer(self.login("owner")["access_token"])).json()
        return str(next(each["id"] for each in logins if each["current"]))

    def user_id(self, route: str) -> str:
        if not route.endswith("/totp"):
            with SessionLocal() as db:
                return str(new_user(db))  # without a password, whose hash takes longer than the call
        user = accounts.register(self.http)
        begin(self.http, accounts.login(self.http, user["username"])["access_token"])
        return str(user["id"])

    def name(self, route: str) -> str:
        if "/queues/" in route:
            return "low_priority"
        if "/limits/" in route:
            return self.limit()
        if "/artifacts/" in route:
            return self.artifact()
        return self.worker() if "/workers/" in route else "swagger-ui.css"

    def webhook_id(self, _route: str) -> str:
        return self.made("/webhooks/", **self.without_endpoints()["json"])

    def delivery_id(self, _route: str) -> str:
        """Of the endpoint that stands in the path before it."""
        answer = self.call("owner", "POST", f"{API}/webhooks/{self._above['webhook_id']}/test")
        return str(answer.json()["id"])

    def fingerprint(self, _route: str) -> str:
        """A group with one failed task."""
        with SessionLocal() as db:
            owner = db.execute(select(User.id).where(User.username == self._users["owner"])).scalar_one()
            found = task_in(db, TaskStatus.FAILED, owner).error_fingerprint
            task_counts.fold(db)
        assert found is not None
        return found

    def artifact(self) -> str:
        """Of the task that stands in the path before it."""
        row = {"name": "report.txt", "content_type": "text/plain", "sha256": "00", "state": FileState.KEPT.value}
        with SessionLocal.begin() as db:
            task = db.get_one(Task, UUID(self._above["task_id"]))
            made = StoredFile(id=new_id(), task_id=task.id, user_id=task.user_id, attempt=1, size=1, **row)
            storage().write(key_of(made.id), [b"x"])
            db.add(made)
        return "report.txt"

    def limit(self) -> str:
        name = f"limit-{next(self._numbers)}"
        assert self.call("admin", "PUT", f"{API}/limits/{name}", json={"concurrency": 1}).status_code == 200
        return name

    def worker(self) -> str:
        """One that lives."""
        name = f"worker{next(self._numbers)}@test"
        with SessionLocal.begin() as db:
            db.add(WorkerProcess(id=new_id(), name=name, pid=1, queues=["default"], concurrency=1))
        return name

    def by_example(self, parameter: str, route: str) -> str:
        """An item that the owner makes, or an administrator where the owner may not, as the document shows."""
        document = table().document
        found = (each for each in resources(document) if route.partition(" ")[2].startswith(each.item))
        (of,) = (each for each in found if each.parameter == parameter)
        caller = "admin" if table().needs[f"POST {of.collection}"] == "admin" else "owner"
        path = of.collection.format(**self._above)
        answer = self.call(caller, "POST", path, **options_of(document, "POST", of.collection))
        assert answer.status_code == 201, answer.text
        return of.key_of(answer.json())

    # What is sent along.

    def options(self, route: str) -> dict[str, Any]:
        """With it the call succeeds, for who may make it."""
        sent: dict[str, Callable[[], dict[str, Any]]] = {
            "POST /api/v1/auth/register": lambda: {"json": self.somebody_new()},
            "POST /api/v1/auth/login": lambda: {"data": {"username": self._users["owner"], "password": PASSWORD}},
            "POST /api/v1/auth/refresh": lambda: {"json": {"refresh_token": self.login("owner")["refresh_token"]}},
            "POST /api/v1/auth/api-keys": lambda: {"json": {"name": "another", "scopes": ["tasks:read"]}},
            "PATCH /api/v1/users/me": lambda: {"json": {}},
            "PUT /api/v1/users/me/password": lambda: {"json": {"current_password": PASSWORD, "new_password": PASSWORD}},
            "POST /api/v1/users/me/totp": lambda: {"json": {"current_password": PASSWORD}},
            "POST /api/v1/users/me/totp/confirm": lambda: self.without_second_factors(otp="000000"),
            "DELETE /api/v1/users/me/totp": lambda: self.without_second_factors(otp="0", current_password=PASSWORD),
            "POST /api/v1/users/": lambda: {"json": self.somebody_new()},
            "PATCH /api/v1/users/{user_id}": lambda: {"json": {}},
            "POST /api/v1/tasks/": lambda: {"json": A_TASK},
            "POST /api/v1/tasks/batch": lambda: {"json": {"tasks": [A_TASK]}},
            **{f"POST /api/v1/tasks/bulk/{deed}": lambda: {"json": NO_TASK} for deed in ("cancel", "retry", "delete")},
            "POST /api/v1/queues/{name}/pause": lambda: {"json": {"reason": "a test"}},
            "PUT /api/v1/limits/{name}": lambda: {"json": {"concurrency": 1}},
            "POST /api/v1/webhooks/": self.without_endpoints,
            "PATCH /api/v1/tasks/{task_id}": lambda: {"json": {"name": "changed"}},
        }
        return sent[route]() if route in sent else options_of(table().document, *route.split())

    @staticmethod
    def without_endpoints() -> dict[str, Any]:
        """A user may have twenty of them."""
        with SessionLocal.begin() as db:
            db.execute(text("DELETE FROM webhook_endpoints"))
        return {"json": {"url": "https://example.com/", "events": ["task.failed"]}}

    @staticmethod
    def without_second_factors(**body: str) -> dict[str, Any]:
        """Such a call ends before it changes anything: whoever had a second factor could not log in again here."""
        with SessionLocal.begin() as db:
            db.execute(text("DELETE FROM second_factors"))
        return {"json": body}

    def somebody_new(self) -> dict[str, Any]:
        name = f"new{next(self._numbers)}"
        return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


@pytest.fixture(scope="module")
def world(services: Services) -> Iterator[World]:
    with shared_client(
        services, **bounded({watcher: {"MAX_SECONDS": 0.1}})
    ) as client:  # this client waits for a stream's end
        users = {name: accounts.register(client)["username"] for name in ("owner", "stranger", "admin")}
        _promote(users["admin"])
        yield World(client, users)


def _promote(username: str) -> None:
    with SessionLocal.begin() as db:
        db.execute(text("UPDATE users SET role = 'admin' WHERE username = :name"), {"name": username})


def test_a_route_without_a_permission_is_one_that_is_known_to_need_none() -> None:
    needs = table().needs
    assert {route for route, needed in needs.items() if needed == "open"} == OPEN
    assert {route for route, needed in needs.items() if needed == "any"} == ANY
    # One that stands in no document says nothing of what it needs.
    assert table().rows.keys() == needs.keys()


def test_a_key_that_only_reads_changes_nothing() -> None:
    reading = {route for route, needed in table().needs.items() if needed == "tasks:read"}
    assert {route for route in reading if not route.startswith("GET ")} == set()


@pytest.mark.parametrize("caller", CALLERS)
def test_answers_as_its_route_declares(world: World, caller: str) -> None:
    with cases() as case:
        for route, row in table().rows.items():
            with case(route):
                answer = world.ask(None if caller == "nobody" else world.token(caller), route)
                assert answer.status_code == row[CALLERS.index(caller)], answer.text
                assert answer.status_code != 403 or answer.json()["code"] == "admin_only"


# What changes something and leaves no record in the audit, and why.
_MADE = "what is created tells by itself whose it is, and since when; `REPLACES` has what is replaced"
_OF_CALL = "nothing is changed by this call, as the table has it"
UNRECORDED = {
    **{f"POST /api/v1/{path}": _MADE for path in ("tasks/", "tasks/batch", "workflows/", "files/")},
    "POST /api/v1/auth/refresh": "a login goes on; its replay is recorded, and its end",
    "POST /api/v1/users/me/totp/confirm": f"{_OF_CALL}: `test_totp.py` has it",
    "DELETE /api/v1/users/me/totp": f"{_OF_CALL}: `test_totp.py` has it",
    "PATCH /api/v1/users/me": f"{_OF_CALL}: `test_audit_events.py` has it",
    "PATCH /api/v1/users/{user_id}": f"{_OF_CALL}: `test_audit_events.py` has it",
    "POST /api/v1/schedules/{schedule_id}/resume": f"{_OF_CALL}: `schedules/test_runs.py` has it",
    "POST /api/v1/webhooks/{webhook_id}/test": "sends a text of the service's to an address that is recorded",
    "POST /api/v1/webhooks/{webhook_id}/recover": "sends again what was to be sent",
    "POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": "sends again what was to be sent",
}
REPLACES = {
    "POST /api/v1/tasks/": lambda task: task,
    "POST /api/v1/tasks/batch": lambda task: {"tasks": [task]},
    "POST /api/v1/tasks/{task_id}/retry": lambda task: task,
}
READS_A_SECRET = "GET /api/v1/users/me/webhook-secret"


def test_every_route_that_changes_something_leaves_a_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the audit, by whoever made the call; else it stands in UNRECORDED with a reason, and leaves none."""
    monkeypatch.setattr(
        get_settings(), "webhook_secret", SecretStr("whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE=")
    )
    routes_ = [route for route in table().rows if not route.startswith("GET ")]
    with cases() as case:
        for route in (*routes_, READS_A_SECRET):
            with case(route):
                caller = "admin" if table().needs[route] == "admin" else "owner"
                token = world.token(caller)
                prepared = world.prepared(route)
                before = {each.id for each in recorded()}
                answer = prepared(None if table().needs[route] == "open" else token)
                new = [each.event for each in recorded() if each.id not in before]
                assert answer.status_code < 300 or UNRECORDED.get(route, "").startswith(_OF_CALL), answer.text
                assert bool(new) == (route not in UNRECORDED), new
    assert UNRECORDED.keys() <= {*routes_}


def test_every_route_that_replaces_a_pending_task_leaves_a_record(world: World) -> None:
    """It names the fields, and whoever made the call. A task that is only created leaves none."""
    with cases() as case:
        for route, body in REPLACES.items():
            with case(route):
                task = A_TASK | {"unique_key": route, "on_conflict": "replace", "kwargs": {"steps": 1}}
                made = world.call("owner", "POST", f"{API}/tasks/", json=task)
                replaced = made.json()["id"]
                assert (made.status_code, recorded(object_id=replaced)) == (201, [])
                sent = {"json": body(task | {"kwargs": {"steps": 2}, "tags": ["s3cret"]})}
                (answer,) = world.ask_as(route, world.token("owner"), options=sent)
                assert answer.status_code < 300, answer.text
                (record,) = recorded(object_id=replaced)
                assert (record.event, str(record.actor_id)) == ("task.changed", made.json()["user_id"])
                assert record.detail["fields"] == ["kwargs", "run_at", "tags"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_of_an_administrator_may_do_what_its_scope_says_and_no_more(world: World, scope: str) -> None:
    key = world.key("admin", scope)
    with cases() as case:
        for route, needs in closed().items():
            with case(route):
                answer = world.ask(key, route)
                code = answer.json()["code"] if answer.status_code in {401, 403} else "in"
                wanted = "login_only" if needs == "login" else "in" if needs in {"any", scope} else "insufficient_scope"
                assert code == wanted, answer.text
                if code == "insufficient_scope":
                    challenge = answer.headers["www-authenticate"]
                    assert challenge.startswith('Bearer error="insufficient_scope"')
                    assert challenge.endswith(f'scope="{needs}"')


def test_without_a_known_token_the_answer_asks_for_one(world: World) -> None:
    tokens = (None, "x.y.z", "tsk_no-key")
    with cases() as case:
        for route in [*closed()][:: amount(day=4, night=1)]:
            for token, answer in zip(tokens, world.ask_as(route, *tokens), strict=True):
                with case(route, token):
                    code = "not_authenticated" if token is None else "invalid_token"
                    assert (answer.status_code, answer.json()["code"]) == (401, code)
                    challenge = answer.headers["www-authenticate"]
                    known = "Bearer" if token is None else 'Bearer error="invalid_token"'
                    assert challenge == known or (token and challenge.startswith(known))
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert answer.headers["cache-control"] == "no-store" or "/tasks/" in route


def closed() -> dict[str, str]:
    """The routes that need a token."""
    return {route: needs for route, needs in table().needs.items() if needs != "open"}


def test_every_operation_names_its_scope_and_its_403() -> None:
    document = table().document
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needs = table().needs[f"{method.upper()} {path}"]
            wanted = [needs] if needs in SCOPES else []
            # Metrics ask for a token only where DOCS_ENABLED closes them.
            schemes = {"open": [], "login": ["Login"]}.get("" if path == "/metrics" else needs, ["Login", "ApiKey"])
            optional: list[dict[str, Any]] = [{}] if path == "/metrics" else []
            assert operation.get("security", []) == optional + [{each: wanted} for each in schemes], (method, path)
            if needs in {*SCOPES, "login"}:
                examples = operation["responses"]["403"]["content"]["application/problem+json"]["examples"]
                codes = {"login": {"login_only"}, "admin": {"insufficient_scope", "admin_only"}}
                assert codes.get(needs, {"insufficient_scope"}) <= examples.keys(), (method, path)
            if wanted:
                assert "WWW-Authenticate" in operation["responses"]["403"]["headers"]
    schemes = document["components"]["securitySchemes"]
    (flow,) = schemes["Login"]["flows"].values()
    assert flow["scopes"].keys() == set(SCOPES)
    assert (schemes["ApiKey"]["type"], schemes["ApiKey"]["scheme"]) == ("http", "bearer")
    assert "tsk_" in schemes["ApiKey"]["description"]


BULK = {f"POST /api/v1/tasks/bulk/{deed}" for deed in ("cancel", "retry", "delete")}
# The routes that show a task which the call does not name, to a key with these scopes.
FINDING: dict[tuple[str, ...], set[str]] = {
    ("tasks:write",): set(),
    ("tasks:read",): {"GET /api/v1/tasks/"},
    ("tasks:read", "tasks:write"): {"GET /api/v1/tasks/", *BULK},
}


@pytest.mark.parametrize("scopes", FINDING, ids="+".join)
def test_who_may_not_read_tasks_finds_none(world: World, scopes: tuple[str, ...]) -> None:
    """Scopes × routes × fields: a task has the mark in each field that takes text, and is looked for in each answer."""
    mark = f"mark-{new_id().hex}"
    marked = {"name": mark, "task_type": mark, "tags": [mark], "kwargs": {"x": mark}, "metadata": {mark: mark}}
    task_id = world.made("/tasks/", **A_TASK | marked | {"unique_key": mark})
    assert world.call("owner", "POST", f"{API}/tasks/{task_id}/cancel").status_code == 200
    key, found = world.key("owner", *scopes), {}
    with cases() as case:
        for route, needs in closed().items():
            if needs in {"any", *scopes}:
                with case(route):
                    preview = {"json": {"filter": {"tag": mark}, "dry_run": True}} if route in BULK else None
                    (answer,) = world.ask_as(route, key, options=preview)
                    assert answer.status_code < 400, answer.text
                    if mark in answer.text or task_id in answer.text:
                        found[route] = answer
    if "tasks:read" in scopes:  # there it may be or not: in a stream by its time, in the series of a type once added up
        found = {route: answer for route, answer in found.items() if not route.endswith(("/stats", "/tasks/events"))}
    assert found.keys() == FINDING[scopes]
    for route, answer in found.items():
        tasks = answer.json()["sample"] if route in BULK else answer.json()
        assert {frozenset(task) for task in tasks} == {frozenset(TaskRead.model_fields)}


class TestReach:
    def test_a_key_reaches_its_owners_tasks_alone(self, world: World) -> None:
        theirs, key = world.task_id(""), world.key("stranger", "tasks:read", "tasks:write")
        mine = world.http.post(f"{API}/tasks/", headers=bearer(key), json=A_TASK).json()["id"]
        listed = {task["id"] for task in world.http.get(f"{API}/tasks/?limit=200", headers=bearer(key)).json()}
        assert listed & {mine, theirs} == {mine}
        assert world.call("stranger", "GET", f"{API}/tasks/{mine}").status_code == 200
        for method, path in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/attempts"),
            ("GET", "/logs"),
            ("GET", "/output"),
        ):
            answer = world.http.request(method, f"{API}/tasks/{theirs}{path}", headers=bearer(key), json={})
            assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
        assert world.http.get(f"{API}/tasks/?user_id=all", headers=bearer(key)).json()["code"] == "admin_only"

    def test_an_administrators_key_reaches_others_with_the_scope_alone(self, world: World) -> None:
        one, every = f"{API}/tasks/{world.task_id('')}", f"{API}/tasks/?user_id=all"
        plain = bearer(world.key("admin", "tasks:read", "tasks:write"))
        full = bearer(world.key("admin", *SCOPES))
        assert world.http.get(one, headers=plain).status_code == 404
        assert world.http.get(one, headers=full).status_code == 200
        assert world.http.get(every, headers=plain).json()["code"] == "insufficient_scope"
        assert world.http.get(every, headers=full).status_code == 200
        answer = world.http.patch(one, headers=plain, json={"status": "revoked"})
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert world.http.patch(one, headers=full, json={"status": "revoked"}).json()["status"] == "revoked"

    def test_closed_metrics_are_for_administrators(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        user, admin = (world.token(caller) for caller in ("stranger", "admin"))
        tokens = ["x", user, world.key("admin", "tasks:read"), world.key("admin", "admin"), admin]
        monkeypatch.setattr(get_settings(), "docs_enabled", False)
        answers = [world.http.get("/metrics", headers=headers) for headers in ({}, *map(bearer, tokens))]
        assert [each.status_code for each in answers] == [404, 404, 404, 404, 200, 200]
        assert {each.json()["code"] for each in answers[:4]} == {"not_found"}
