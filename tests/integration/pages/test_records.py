"""Each form of the pages that changes something leaves a record in the audit, or is known to leave none."""

from collections.abc import Mapping
from typing import Any

from fastapi.testclient import TestClient

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.models import WorkerProcess
from tests.support.accounts import OTHER_PASSWORD, PASSWORD
from tests.support.audit import recorded
from tests.support.page_forms import ROUTES
from tests.support.page_reader import Reader, signed_in
from tests.support.settings import sql
from tests.support.tables import cases
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import LONG_RUNNING
from tests.support.things import FORMS, Things
from tests.support.throttle import UNBOUNDED_DEEDS
from tests.support.ways import Caller

shared = module_client(WEB_UI="true", **UNBOUNDED_DEEDS)

# `test_route_matrix.py` says it of the same calls of the API.
_MADE = "what is created tells by itself whose it is, and since when"
_AGAIN = "sends again what was to be sent"
_SHOWS = "shows what would be done"
_NOTHING = "nothing is changed by this call, as it is made here"
UNRECORDED = {
    **dict.fromkeys(("/new", "/files"), _MADE),
    "/webhooks/{endpoint_id}/test": "sends a text of the service's to an address that is recorded",
    **dict.fromkeys(
        (
            "/deliveries/{delivery_id}/redeliver",
            "/webhooks/{endpoint_id}/recover",
            "/webhooks/{endpoint_id}/send-waiting",
        ),
        _AGAIN,
    ),
    "/bulk/{deed}/preview": _SHOWS,
    "/choices/{name}": "a cookie of the reader's",
    **dict.fromkeys(
        (
            "/account/second-factor/confirm",
            "/account/second-factor/remove",
            "/users/{user_id}/second-factor/remove",
            "/users/{user_id}/activate",
            "/schedules/{schedule_id}/pause",
        ),
        _NOTHING,
    ),
}
# Who has sent one of these, or is its object, is not as before: a user of its own for each.
CHANGE_THE_USER = {
    *("/account/password", "/account/logins/others/end", "/account/second-factor", "/sign-out", "/users/{user_id}"),
    *(f"/users/{{user_id}}/{deed}" for deed in ("activate", "deactivate", "password", "delete")),
}
USER = {"username": "made-by-a-form", "email": "made@example.com", "password": OTHER_PASSWORD, "role": "user"}
ENDPOINT = {"url": "https://example.com/a", "events": "task.failed"}
TASK = {"celery_task_name": LONG_RUNNING, "name": "a", "task_type": "t", "kwargs.duration": "1"}
SCHEDULE = TASK | {"schedule.name": "s", "schedule.by": "cron", "schedule.cron": "30 9 * * *"}
SENT: Mapping[str, Mapping[str, Any]] = {
    **FORMS,
    "/account/password": {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
    "/account/api-keys": {"name": "k", "scopes": "tasks:read"},
    "/account/second-factor": {"current_password": PASSWORD},
    "/limits": {"name": "a-limit", "concurrency": "1"},
    "/new": TASK,
    "/schedules/new": SCHEDULE,
    "/schedules/{schedule_id}/change": SCHEDULE,
    "/tasks/{task_id}/change": TASK,
    "/queues/{name:path}/pause": {"reason": "a test"},
    "/choices/{name}": {"value": "dark"},
    "/users": USER,
    "/users/{user_id}": {"role": "user", "max_priority": "low", "weight": "3"},
    "/users/{user_id}/password": {"new_password": OTHER_PASSWORD},
    "/webhooks": ENDPOINT,
    "/webhooks/{endpoint_id}/change": ENDPOINT,
    "/webhooks/{endpoint_id}/recover": {"since": "2021-01-01T00:00"},
}


def test_each_leaves_one_or_is_known_to_leave_none(client: TestClient, admin: TaskClient) -> None:
    administrator, shared = signed_in(client, admin.user), Caller(client)
    with cases() as case:
        for path in ROUTES:
            with case(path):
                caller = Caller(client) if path in CHANGE_THE_USER else shared
                things = Things(caller)
                there = things.path(path)
                if path.startswith("/queues"):
                    there = there.replace("image.png", "default")
                reader = (
                    administrator if path.startswith(("/users", "/queues", "/limits", "/workers")) else caller.reader
                )
                form = _form(path, caller) | {"confirmed": "true"}
                before = {each.id for each in recorded()}
                answer = _post(reader, path, there, form)
                new = [each.event for each in recorded() if each.id not in before]
                assert answer < 400 or UNRECORDED.get(path) == _NOTHING, answer
                assert bool(new) == (path not in UNRECORDED), new
    assert UNRECORDED.keys() <= ROUTES.keys()


def _form(path: str, caller: Caller) -> dict[str, Any]:
    """What makes the call succeed."""
    if path == "/sign-in":
        return {"username": caller.user["username"], "password": PASSWORD}
    if path == "/account/logins/others/end":
        signed_in(caller.http, caller.user)
    if path.startswith("/bulk/{deed}"):
        ids = {"ids": [caller.pending(BODY)]}
        if path == "/bulk/{deed}/preview":
            return ids
        answer = caller.http.post("/api/v1/tasks/bulk/cancel", json=ids | {"dry_run": True}, headers=_bearer(caller))
        return {"token": answer.json()["token"]}
    if path == "/limits/{name}/delete":
        sql("INSERT INTO limits (name, concurrency) VALUES ('image.png', 1)")
    if path.startswith("/workers"):
        with SessionLocal.begin() as db:
            db.add(WorkerProcess(id=new_id(), name="image.png", pid=1, queues=["default"], concurrency=1))
    return dict(SENT.get(path, {}))


def _bearer(caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Bearer {caller.token}"}


def _post(reader: Reader, path: str, there: str, form: dict[str, Any]) -> int:
    if path == "/files":
        sent = {"file": ("a.csv", b"a", "text/csv")}
        return reader.request("POST", f"/ui{there}", {"Sec-Fetch-Site": "same-origin"}, files=sent).status_code
    return reader.post(there, **form).status_code
