"""Loaded by schemathesis (SCHEMATHESIS_HOOKS) in its own process; `run.py` gives it its environment.

Every account is made here, through the API, so that an operation may end it: a logout, a changed password, an
administrator who deactivates himself. Whoever is then answered 401 goes on as a new one.
"""

import hashlib
import itertools
import os
import secrets
import uuid
from typing import Any

import httpx
import schemathesis
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.support import accounts, second_factors
from tests.support.databases import ENGINE
from tests.support.services import sqlalchemy_url
from tests.support.spelling import spelled

URL = os.environ["CONFORMANCE_URL"]
DATABASE_URL = os.environ["CONFORMANCE_DATABASE_URL"]
ROLE = os.environ["CONFORMANCE_ROLE"]
# A success ends the caller's own token: each call gets an account of its own.
ENDS_ITS_TOKEN = {("POST", "/api/v1/auth/logout"), ("PUT", "/api/v1/users/me/password")}
# No answer but the list of logins names one.
ONE_LOGIN = ("DELETE", "/api/v1/auth/sessions/{session_id}")
# The account may be another one than that which made the key of an earlier answer.
ONE_KEY = {(method, "/api/v1/auth/api-keys/{key_id}") for method in ("GET", "DELETE")}
# What their answers hold is taken for the ids of events: they never get a task's. And this task ends, as their streams do.
ONE_TASK = {("GET", f"/api/v1/tasks/{{task_id}}/{what}") for what in ("events", "logs", "output")}
ONE_ARTIFACT = ("GET", "/api/v1/tasks/{task_id}/artifacts/{name}")
# Made for the call: schemathesis takes other ids for it.
ONE_DEED = {("GET", "/api/v1/tasks/bulk/{deed_id}"), ("POST", "/api/v1/tasks/bulk/{deed_id}/abort")}
ONE_ENDPOINT, ONE_DELIVERY = "/api/v1/webhooks/{webhook_id}", "{delivery_id}"
ONE_WORKER = "/api/v1/workers/{name}"
ONE_GROUP = "/api/v1/errors/{fingerprint}"
# No check looks at how long an answer took. One of so many waits, for a second: all would take most of the test's time.
ONE_WAITS_OF = 10
# Each call is about a second factor of its own.
CONFIRMS, REMOVES = ("POST", "/api/v1/users/me/totp/confirm"), ("DELETE", "/api/v1/users/me/totp")
RESETS = ("DELETE", "/api/v1/users/{user_id}/totp")
LONG_RUNNING = "app.tasks.common_tasks.long_running_task"
_turns, _waits = itertools.count(), itertools.count()


def _execute(statement: str, **values: str | None) -> None:
    """One statement straight to the database."""
    engine = create_engine(sqlalchemy_url(DATABASE_URL), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(spelled(statement, values))


def _new_login(role: str = "user") -> tuple[str, dict[str, Any]]:
    """A new account's name, and its pair of tokens."""
    with httpx.Client(base_url=URL, timeout=30) as client:
        user = accounts.register(client, f"conformance-{secrets.token_hex(6)}")
        if role == "admin":
            _execute("UPDATE users SET role = 'admin' WHERE id = :id", id=user["id"])
        return user["username"], accounts.login(client, user["username"])


def _login_of(token: str) -> str:
    with httpx.Client(base_url=URL, timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        return str(next(each["id"] for each in client.get("/api/v1/auth/sessions").json() if each["current"]))


def _task_of(authorization: str) -> str:
    body = {"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [0]}
    with httpx.Client(base_url=URL, timeout=30, headers={"Authorization": authorization}) as client:
        return str(client.post("/api/v1/tasks/", json=body).json().get("id", "unknown"))


def _artifact_of(task_id: str) -> str:
    """The name of a new artifact without bytes. Only a body saves one."""
    values = {"id": str(uuid.uuid4()), "task_id": task_id, "sha256": hashlib.sha256().hexdigest()}
    columns = "id, user_id, task_id, attempt, name, content_type, sha256, state"
    rows = "SELECT :id, user_id, id, 1, 'report.html', 'text/html', :sha256, 'kept' FROM tasks WHERE id = :task_id"
    _execute(f"INSERT INTO files ({columns}) {rows}", **values)
    return "report.html"


def _deed_of(authorization: str) -> str:
    body = {"ids": [str(uuid.uuid4())]}
    with httpx.Client(base_url=URL, timeout=30, headers={"Authorization": authorization}) as client:
        return str(client.post("/api/v1/tasks/bulk/cancel", json=body).json().get("id", "unknown"))


def _group_of(authorization: str) -> str:
    """The fingerprint of a new group of failures. Without a login that is valid any more: of none."""
    fingerprint = secrets.token_hex(16)
    with httpx.Client(base_url=URL, timeout=30, headers={"Authorization": authorization}) as client:
        user_id = client.get("/api/v1/users/me").json().get("id")
    columns = "fingerprint, user_id, celery_task_name, error_type, first_seen, last_seen, count"
    values = "SELECT :fingerprint, id, 'x', 'E', now(), now(), 0 FROM users WHERE id = :id"
    _execute(f"INSERT INTO error_groups ({columns}) {values}", fingerprint=fingerprint, id=user_id)
    return fingerprint


def _worker() -> str:
    """The name of a new worker, which serves nothing. The real one leaves as soon as it is drained."""
    name = f"worker-{secrets.token_hex(4)}@nowhere"
    queues = "{}" if ENGINE == "postgresql" else "[]"
    values = f"gen_random_uuid(), :name, 1, '{queues}', 1"
    _execute(f"INSERT INTO worker_processes (id, name, pid, queues, concurrency) VALUES ({values})", name=name)
    return name


def _key_of(authorization: str) -> str:
    body = {"name": "x", "scopes": ["tasks:read"]}
    with httpx.Client(base_url=URL, timeout=30, headers={"Authorization": authorization}) as client:
        return str(client.post("/api/v1/auth/api-keys", json=body).json().get("id", "unknown"))


def _webhook_of(authorization: str, path: str) -> dict[str, str]:
    """An enabled endpoint, and a delivery of it where the path names one. A user has twenty at most."""
    body = {"url": "https://conformance.example.com/hook", "events": ["task.failed"]}
    with httpx.Client(
        base_url=f"{URL}/api/v1/webhooks/", timeout=30, headers={"Authorization": authorization}
    ) as client:
        listed = client.get("").json()
        enabled = [each["id"] for each in listed if each["enabled"]] if isinstance(listed, list) else []
        endpoint = enabled[0] if enabled else client.post("", json=body).json().get("id", "unknown")
        if ONE_DELIVERY not in path:
            return {"webhook_id": endpoint}
        return {"webhook_id": endpoint, "delivery_id": client.post(f"{endpoint}/test").json().get("id", "unknown")}


def _one_time_code(token: str, *, confirmed: bool) -> dict[str, str]:
    """What the body takes to succeed, every second time."""
    with httpx.Client(base_url=URL, timeout=30) as client:
        if confirmed:
            otp = second_factors.set_up(client, token)[1][0]
        else:
            otp = second_factors.present_code(second_factors.begin(client, token))
    password = {"current_password": accounts.PASSWORD} if confirmed else {}
    return {**password, "otp": otp} if next(_turns) % 2 else {}


def _user_with_a_second_factor() -> str:
    token = str(_new_login()[1]["access_token"])
    with httpx.Client(base_url=URL, timeout=30) as client:
        second_factors.begin(client, token)
        return str(client.get("/api/v1/users/me", headers=accounts.bearer(token)).json()["id"])


MADE = {
    **dict.fromkeys(ONE_KEY, ("key_id", _key_of)),
    **dict.fromkeys(ONE_DEED, ("deed_id", _deed_of)),
    **dict.fromkeys(ONE_TASK, ("task_id", _task_of)),
}
"""By the operation: the parameter of its path, and what makes one for the caller with this Authorization."""


def _names(case: schemathesis.Case) -> tuple[str, str]:
    return case.method.upper(), case.path


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """The document describes a stream as a text; schemathesis checks each event, and wants to be told what one is."""
    task, nothing = {"$ref": "#/components/schemas/TaskRead"}, {"type": "object", "maxProperties": 0}
    attempt = {"type": "object", "required": ["attempt"], "additionalProperties": {"type": "integer"}}
    streams = {
        "/api/v1/tasks/events": _event(["task", "reset"], {"anyOf": [task, nothing]}),
        "/api/v1/tasks/{task_id}/events": _event(["task"], task),
        "/api/v1/tasks/{task_id}/logs": _event(["log"], {"$ref": "#/components/schemas/TaskLogRead"}),
        "/api/v1/tasks/{task_id}/output": _event(
            ["output", "reset"], {"anyOf": [{"$ref": "#/components/schemas/TaskOutputRead"}, attempt]}
        ),
        "/api/v1/workflows/{workflow_id}/events": _event(["workflow"], {"$ref": "#/components/schemas/WorkflowRead"}),
    }
    for path, event in streams.items():
        raw_schema["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"] = event


def _event(kinds: list[str], content: dict[str, Any]) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    properties = {
        "event": {"type": "string", "enum": kinds},
        "id": {"type": "string"},
        "data": data,
        "retry": {"type": "integer", "minimum": 0},
    }
    return {"type": "object", "properties": properties}


@schemathesis.auth(refresh_interval=600)
class OneAccount:
    """The caller of all operations, until something ends its token."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        return str(_new_login(ROLE)[1]["access_token"])

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        if case.operation.definition.raw.get("security"):
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Well-formed bodies get what no generator can guess: every second one right credentials, and names not yet taken."""
    if _would_wait(case.query.get("wait")):
        case.query["wait"] = int(next(_waits) % ONE_WAITS_OF == 0)
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    if _names(case) in ENDS_ITS_TOKEN and "Authorization" in case.headers:
        case.headers["Authorization"] = f"Bearer {_new_login(ROLE)[1]['access_token']}"
    if _names(case) == ONE_LOGIN and "Authorization" in case.headers:
        token = str(_new_login(ROLE)[1]["access_token"])
        case.headers["Authorization"] = f"Bearer {token}"
        case.path_parameters["session_id"] = _login_of(token)
    if "Authorization" in case.headers:
        case.path_parameters |= _own(_names(case), case.headers["Authorization"])
    if _names(case) in {CONFIRMS, REMOVES} and "Authorization" in case.headers and isinstance(case.body, dict):
        token = str(_new_login(ROLE)[1]["access_token"])
        case.headers["Authorization"] = f"Bearer {token}"
        case.body |= _one_time_code(token, confirmed=_names(case) == REMOVES)
        return
    if _names(case) == RESETS and next(_turns) % 2:
        case.path_parameters["user_id"] = _user_with_a_second_factor()
    if isinstance(case.body, dict) and next(_turns) % 2:
        case.body |= _known(case)


def _would_wait(value: object) -> bool:
    try:
        return 0 < float(str(value)) <= 60
    except ValueError:
        return False


def _own(names: tuple[str, str], authorization: str) -> dict[str, str]:
    """The id of an object of the caller's, for paths that get no other."""
    if names in MADE:
        parameter, make = MADE[names]
        return {parameter: make(authorization)}
    if names[1].startswith(ONE_GROUP):
        return {"fingerprint": _group_of(authorization)}
    if names[1].startswith(ONE_ENDPOINT):
        return _webhook_of(authorization, names[1])
    if names[1].startswith(ONE_WORKER):
        return {"name": _worker()}
    if names == ONE_ARTIFACT:
        task_id = _task_of(authorization)
        return {"task_id": task_id, "name": _artifact_of(task_id)}
    return {}


def _known(case: schemathesis.Case) -> dict[str, str]:
    """Values for fields of this body."""
    match _names(case):
        case "PUT", "/api/v1/users/me/password":
            return {"current_password": accounts.PASSWORD, "new_password": accounts.OTHER_PASSWORD}
        case "POST", "/api/v1/users/me/totp":
            return {"current_password": accounts.PASSWORD}
        case "POST", "/api/v1/auth/login":
            return {"username": _new_login()[0], "password": accounts.PASSWORD}
        case "POST", "/api/v1/auth/refresh":
            return {"refresh_token": str(_new_login()[1]["refresh_token"])}
    fresh = f"conformance-{secrets.token_hex(6)}"
    known = {"username": fresh, "email": f"{fresh}@example.com", "password": accounts.PASSWORD}
    return {field: value for field, value in known.items() if field in case.body}
