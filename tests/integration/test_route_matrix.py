"""Who may call what: every route, for everybody who may come along. A route that is not in the table fails.

The columns are `nobody`, without a token; `owner`, whose task, key or login it is about; `stranger`, another user; and `admin`.
Unknown is 401, not allowed 403, and what a caller may not see is 404, as if it were not there. What API keys may do beyond
that, scope by scope, stands in test_scopes.py.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.main import create_app
from tests.support import accounts
from tests.support.accounts import API, PASSWORD, bearer
from tests.support.services import Services
from tests.support.task_client import shared_client

CALLERS = ("nobody", "owner", "stranger", "admin")
MATRIX = """
    GET    /healthz                               200  200  200  200
    GET    /readyz                                200  200  200  200
    GET    /metrics                               200  200  200  200
    GET    /openapi.json                          200  200  200  200
    GET    /docs                                  200  200  200  200
    GET    /docs/start.js                         200  200  200  200
    GET    /docs/{name}                           200  200  200  200

    POST   /api/v1/auth/register                  201  201  201  201
    POST   /api/v1/auth/login                     200  200  200  200
    POST   /api/v1/auth/refresh                   200  200  200  200
    POST   /api/v1/auth/logout                    401  204  204  204
    GET    /api/v1/auth/sessions                  401  200  200  200
    DELETE /api/v1/auth/sessions                  401  204  204  204
    DELETE /api/v1/auth/sessions/{session_id}     401  204  404  404
    GET    /api/v1/auth/api-keys                  401  200  200  200
    POST   /api/v1/auth/api-keys                  401  201  201  201
    GET    /api/v1/auth/api-keys/{key_id}         401  200  404  404
    DELETE /api/v1/auth/api-keys/{key_id}         401  204  404  404

    GET    /api/v1/users/me                       401  200  200  200
    PATCH  /api/v1/users/me                       401  200  200  200
    PUT    /api/v1/users/me/password              401  204  204  204
    GET    /api/v1/users/me/webhook-secret        401  409  409  409
    GET    /api/v1/users/                         401  403  403  200
    POST   /api/v1/users/                         401  403  403  201
    GET    /api/v1/users/{user_id}                401  403  403  200
    PATCH  /api/v1/users/{user_id}                401  403  403  200
    DELETE /api/v1/users/{user_id}                401  403  403  204

    POST   /api/v1/tasks/                         401  201  201  201
    POST   /api/v1/tasks/batch                    401  201  201  201
    GET    /api/v1/tasks/                         401  200  200  200
    GET    /api/v1/tasks/count                    401  200  200  200
    GET    /api/v1/tasks/types                    401  200  200  200
    GET    /api/v1/tasks/events                   401  200  200  200
    GET    /api/v1/tasks/{task_id}                401  200  404  200
    PATCH  /api/v1/tasks/{task_id}                401  200  404  200
    DELETE /api/v1/tasks/{task_id}                401  204  404  204
    POST   /api/v1/tasks/{task_id}/cancel         401  200  404  200
    POST   /api/v1/tasks/{task_id}/retry          401  202  404  202
    GET    /api/v1/tasks/{task_id}/attempts       401  200  404  200
    GET    /api/v1/tasks/{task_id}/events         401  200  404  200

    GET    /api/v1/audit                          401  403  403  200
"""
ROWS = {f"{line[0]} {line[1]}": line[2:] for line in map(str.split, MATRIX.splitlines()) if line}
CELLS = [
    (route, caller, int(status))
    for route, statuses in ROWS.items()
    for caller, status in zip(CALLERS, statuses, strict=True)
]
A_TASK = {
    "name": "x",
    "task_type": "x",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [0],
    "delay_seconds": 3600,
}


class World:
    """Everybody on one deployment. What a call is about is made for that call, and so is its login."""

    def __init__(self, http: httpx.Client, users: dict[str, str]) -> None:
        self.http, self._users = http, users
        self._numbers = itertools.count(1)

    def login(self, caller: str) -> dict[str, Any]:
        return accounts.login(self.http, self._users[caller])

    def call(self, caller: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {} if caller == "nobody" else bearer(self.login(caller)["access_token"])
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

    def key_id(self, _route: str) -> str:
        return self.made("/auth/api-keys", name="of the owner", scopes=["tasks:read"])

    def session_id(self, _route: str) -> str:
        logins = self.http.get(f"{API}/auth/sessions", headers=bearer(self.login("owner")["access_token"])).json()
        return str(next(each["id"] for each in logins if each["current"]))

    def user_id(self, _route: str) -> str:
        answer = self.call("admin", "POST", f"{API}/users/", json=self.somebody_new())
        return str(answer.json()["id"])

    @staticmethod
    def name(_route: str) -> str:
        return "swagger-ui.css"

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
            "POST /api/v1/users/": lambda: {"json": self.somebody_new()},
            "PATCH /api/v1/users/{user_id}": lambda: {"json": {}},
            "POST /api/v1/tasks/": lambda: {"json": A_TASK},
            "POST /api/v1/tasks/batch": lambda: {"json": {"tasks": [A_TASK]}},
            "PATCH /api/v1/tasks/{task_id}": lambda: {"json": {"name": "changed"}},
        }
        return sent.get(route, dict)()

    def somebody_new(self) -> dict[str, Any]:
        name = f"new{next(self._numbers)}"
        return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


@pytest.fixture(scope="module")
def world(services: Services) -> Iterator[World]:
    with shared_client(services, EVENTS_MAX_SECONDS="0.1") as client:  # this client waits for a stream's end
        users = {name: accounts.register(client)["username"] for name in ("owner", "stranger", "admin")}
        _promote(users["admin"])
        yield World(client, users)


def _promote(username: str) -> None:
    from sqlalchemy import text

    from app.db.session import SessionLocal

    with SessionLocal.begin() as db:
        db.execute(text("UPDATE users SET role = 'admin' WHERE username = :name"), {"name": username})


def routes(app: FastAPI) -> set[str]:
    """Every route of the application, in its documented form: with or without a slash at the end."""
    found = set()
    for route in iter_route_contexts(app.routes):
        path = getattr(route, "path_format", None) or getattr(route, "path", "")
        found |= {f"{method} {path}" for method in (route.methods or set()) - {"HEAD"}}
    return {route for route in found if _twin(route) not in ROWS.keys() & found}


def _twin(route: str) -> str:
    return route[:-1] if route.endswith("/") else f"{route}/"


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    assert routes(create_app()) == ROWS.keys()


@pytest.mark.parametrize(("route", "caller", "status"), CELLS)
def test_answers_as_the_table_says(world: World, route: str, caller: str, status: int) -> None:
    method, template = route.split()
    path = re.sub(r"\{(\w+)\}", lambda found: getattr(world, found[1])(route), template)
    answer = world.call(caller, method, path, **world.options(route))
    assert answer.status_code == status, answer.text
