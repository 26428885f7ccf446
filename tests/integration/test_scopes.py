"""Who may do what: every route against nobody, users, administrators and each scope of an API key.

A route that is not listed here fails the suite: whoever adds one says who may use it.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.main import create_app
from tests.support.accounts import API, bearer
from tests.support.services import Services
from tests.support.task_client import BODY, shared_client

MakeUser = Callable[..., tuple[dict[str, Any], str]]
OPEN, ANY, LOGIN, METRICS = "no token needed", "any key", "no key", "metrics"
READ, WRITE, ADMIN = "tasks:read", "tasks:write", "admin"
USER = {"username": "bob", "email": "bob@example.com", "password": "correct horse battery"}

ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): METRICS,
    ("POST", "/api/v1/auth/register"): OPEN,
    ("POST", "/api/v1/auth/login"): OPEN,
    ("POST", "/api/v1/auth/refresh"): OPEN,
    ("POST", "/api/v1/auth/logout"): LOGIN,
    ("GET", "/api/v1/auth/sessions"): LOGIN,
    ("DELETE", "/api/v1/auth/sessions"): LOGIN,
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): LOGIN,
    ("POST", "/api/v1/auth/api-keys"): LOGIN,
    ("GET", "/api/v1/auth/api-keys"): LOGIN,
    ("GET", "/api/v1/auth/api-keys/{key_id}"): LOGIN,
    ("DELETE", "/api/v1/auth/api-keys/{key_id}"): LOGIN,
    ("GET", "/api/v1/users/me"): ANY,
    ("PATCH", "/api/v1/users/me"): LOGIN,
    ("PUT", "/api/v1/users/me/password"): LOGIN,
    ("GET", "/api/v1/users/me/webhook-secret"): LOGIN,
    ("GET", "/api/v1/users/"): ADMIN,
    ("POST", "/api/v1/users/"): ADMIN,
    ("GET", "/api/v1/users/{user_id}"): ADMIN,
    ("PATCH", "/api/v1/users/{user_id}"): ADMIN,
    ("DELETE", "/api/v1/users/{user_id}"): ADMIN,
    ("GET", "/api/v1/audit"): ADMIN,
    ("POST", "/api/v1/tasks/"): WRITE,
    ("POST", "/api/v1/tasks/batch"): WRITE,
    ("GET", "/api/v1/tasks/"): READ,
    ("GET", "/api/v1/tasks/count"): READ,
    ("GET", "/api/v1/tasks/types"): READ,
    ("GET", "/api/v1/tasks/events"): READ,
    ("GET", "/api/v1/tasks/{task_id}"): READ,
    ("PATCH", "/api/v1/tasks/{task_id}"): WRITE,
    ("DELETE", "/api/v1/tasks/{task_id}"): WRITE,
    ("POST", "/api/v1/tasks/{task_id}/cancel"): WRITE,
    ("POST", "/api/v1/tasks/{task_id}/retry"): WRITE,
    ("GET", "/api/v1/tasks/{task_id}/attempts"): READ,
    ("GET", "/api/v1/tasks/{task_id}/events"): READ,
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/auth/api-keys"): {"name": "x", "scopes": [READ]},
    ("PATCH", "/api/v1/users/me"): {},
    ("PUT", "/api/v1/users/me/password"): {"current_password": "x", "new_password": "another good one"},
    ("POST", "/api/v1/users/"): USER,
    ("PATCH", "/api/v1/users/{user_id}"): {},
    ("POST", "/api/v1/tasks/"): BODY,
    ("POST", "/api/v1/tasks/batch"): {"tasks": [BODY]},
    ("PATCH", "/api/v1/tasks/{task_id}"): {},
}
LOGOUT, PASSWORD = ("POST", "/api/v1/auth/logout"), ("PUT", "/api/v1/users/me/password")
GUARDED = [route for route, needs in ROUTES.items() if needs not in {OPEN, METRICS}]


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[httpx.Client]:
    with shared_client(services, EVENTS_MAX_SECONDS="0.1") as shared:  # this client waits for a stream's end
        yield shared


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    from app.api.http.openapi import describe

    return describe(create_app())


def new_key(client: httpx.Client, token: str, *scopes: str) -> str:
    body = {"name": "machine", "scopes": scopes}
    answer = client.post(f"{API}/auth/api-keys", headers=bearer(token), json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def call(client: httpx.Client, route: tuple[str, str], token: str | None) -> httpx.Response:
    """With ids that do not exist: who may go on gets a 404, or what the route says."""
    method, path = route
    for name in ("{task_id}", "{user_id}", "{key_id}", "{session_id}"):
        path = path.replace(name, str(uuid4()))
    return client.request(method, path, headers=bearer(token) if token else {}, json=BODIES.get(route))


def outcome(answer: httpx.Response) -> str:
    """`in`, or the code with which the door stayed shut."""
    return str(answer.json()["code"]) if answer.status_code in {401, 403} else "in"


def expected(needs: str, scope: str) -> str:
    if needs == LOGIN:
        return "login_only"
    return "in" if needs in {ANY, scope} else "insufficient_scope"


def test_every_route_is_listed(document: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == ROUTES.keys()


@pytest.mark.parametrize("scope", [READ, WRITE, ADMIN])
def test_a_key_of_an_administrator_may_do_what_its_scope_says_and_no_more(
    client: httpx.Client, make_user: MakeUser, scope: str
) -> None:
    _, token = make_user("admin")
    key = new_key(client, token, scope)
    for route in GUARDED:
        answer = call(client, route, key)
        assert outcome(answer) == expected(ROUTES[route], scope), (route, answer.text)
        if outcome(answer) == "insufficient_scope":
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith('Bearer error="insufficient_scope"')
            assert challenge.endswith(f'scope="{ROUTES[route]}"')


@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_login_may_do_all_that_its_user_may_and_no_more(client: httpx.Client, make_user: MakeUser, role: str) -> None:
    _, token = make_user(role)
    for route in [each for each in GUARDED if each != LOGOUT]:
        shut = "admin_only" if ROUTES[route] == ADMIN and role == "user" else "in"
        assert outcome(call(client, route, token)) == ("wrong_password" if route == PASSWORD else shut), route
    assert call(client, LOGOUT, token).status_code == 204


@pytest.mark.parametrize("token", [None, "x.y.z", "tsk_no-key"])
def test_nobody_may_do_anything_that_is_not_open(client: httpx.Client, token: str | None) -> None:
    for route in GUARDED:
        answer = call(client, route, token)
        assert outcome(answer) == ("not_authenticated" if token is None else "invalid_token"), route
        assert answer.headers["www-authenticate"].startswith("Bearer"), route
    for route in [each for each, needs in ROUTES.items() if needs in {OPEN, METRICS}]:
        assert call(client, route, token).status_code not in {401, 403}, route


def test_every_operation_names_its_scope_and_its_403(document: dict[str, Any]) -> None:
    for (method, path), needs in ROUTES.items():
        operation = document["paths"][path][method.lower()]
        wanted = [needs] if needs in {READ, WRITE, ADMIN} else []
        assert operation.get("security", [{"Login": []}]) == [{"Login": wanted}], path
        if needs in {READ, WRITE, ADMIN, LOGIN}:
            examples = operation["responses"]["403"]["content"]["application/problem+json"]["examples"]
            assert ("login_only" if needs == LOGIN else "insufficient_scope") in examples, (method, path)
        if wanted:
            assert "WWW-Authenticate" in operation["responses"]["403"]["headers"]
    (flow,) = document["components"]["securitySchemes"]["Login"]["flows"].values()
    assert flow["scopes"].keys() == {READ, WRITE, ADMIN}
    assert "tsk_" in document["components"]["securitySchemes"]["Login"]["description"]


class TestReach:
    def test_a_key_reaches_its_owners_tasks_alone(self, client: httpx.Client, make_user: MakeUser) -> None:
        (_, mine), (_, theirs) = make_user(), make_user()
        task_id = client.post(f"{API}/tasks/", headers=bearer(theirs), json=BODY).json()["id"]
        key = new_key(client, mine, READ, WRITE)
        own = client.post(f"{API}/tasks/", headers=bearer(key), json=BODY)
        assert own.status_code == 201
        assert [task["id"] for task in client.get(f"{API}/tasks/", headers=bearer(key)).json()] == [own.json()["id"]]
        assert client.get(f"{API}/tasks/{own.json()['id']}", headers=bearer(mine)).status_code == 200
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/attempts")):
            answer = client.request(method, f"{API}/tasks/{task_id}{path}", headers=bearer(key), json={})
            assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
        assert client.get(f"{API}/tasks/?user_id=all", headers=bearer(key)).json()["code"] == "admin_only"

    def test_an_administrators_key_reaches_others_with_the_scope_alone(
        self, client: httpx.Client, make_user: MakeUser
    ) -> None:
        (_, user), (_, admin) = make_user(), make_user("admin")
        task_id = client.post(f"{API}/tasks/", headers=bearer(user), json=BODY).json()["id"]
        plain, full = new_key(client, admin, READ, WRITE), new_key(client, admin, READ, WRITE, ADMIN)
        one, everybodys = f"{API}/tasks/{task_id}", f"{API}/tasks/?user_id=all"
        assert client.get(one, headers=bearer(plain)).status_code == 404
        assert client.get(one, headers=bearer(full)).status_code == 200
        assert client.get(everybodys, headers=bearer(plain)).json()["code"] == "insufficient_scope"
        assert client.get(everybodys, headers=bearer(full)).status_code == 200
        state = {"status": "revoked"}
        answer = client.patch(one, headers=bearer(plain), json=state)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert client.patch(one, headers=bearer(full), json=state).json()["status"] == "revoked"

    def test_closed_metrics_open_to_the_scope_admin_alone(
        self, client: httpx.Client, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from app.core.config import get_settings

        _, admin = make_user("admin")
        monkeypatch.setattr(get_settings(), "docs_enabled", False)
        keys = new_key(client, admin, READ), new_key(client, admin, ADMIN)
        assert [client.get("/metrics", headers=bearer(key)).status_code for key in keys] == [404, 200]
