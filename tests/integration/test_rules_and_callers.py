"""Every rule about who may do what, for each of its callers: HTTP, the pages, MCP, and what runs later.

The callers are found in the code (`tests/support/callers.py`). One that has no row here fails the test that walks the
table, and one that leaves a guard out fails `test_no_caller_leaves_a_guard_out`. Of the routes of the API,
`test_route_matrix.py` knows whose objects they reach and which scopes they need.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.beat.entries import Outcome, Source, import_entries
from app.catalogue import catalogue
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.messaging.application import celery_app
from app.models.user import User
from app.services.accounts.users import Rights
from app.services.schedules.service import schedule_service
from app.services.tasks.permissions import types_for
from app.web.application import create_pages
from tests.support.accounts import bearer
from tests.support.bulk import run
from tests.support.callers import builders_of, creators, guarded_calls
from tests.support.page_reader import Reader
from tests.support.schedules import fire_all, rewind, told as told_of_times
from tests.support.sources import SHIPPED_TASKS
from tests.support.tables import cases
from tests.support.task_client import BODY, module_client
from tests.support.things import FORMS, Things
from tests.support.throttle import UNBOUNDED_DEEDS
from tests.support.ways import MCP_HEADERS, WAYS, Answer, Caller, told

client = module_client(WEB_UI="true", MCP_ENABLED="true", **UNBOUNDED_DEEDS)

EXPORT = "app.tasks.common_tasks.export_tasks"
FETCH = "app.tasks.common_tasks.fetch_url"
# What may stand for a guard. Anything else is told here, with the reason why it is enough.
GIVEN = {
    "owner": {"user.owner", "self._user.owner", "user.id", "_owner(user)"},
    "rights": {"user.rights", "self._user.rights", "a principal"},
    "within_quota": {"True"},
    "owns": {"user.owns"},
}
LEFT_OUT = {
    ("web.views.schedules.schedule_name", "ScheduleService.get_schedule"): "of a task that the reader sees",
    ("web.views.schedules._coming", "ScheduleService.next_times"): "of a schedule that was found by its owner",
    ("web.views.errors._attempt_of", "TaskService.list_attempts"): "is given that of its caller",
    ("mcp.calls._cancel", "TaskService.cancel"): "is given that of its caller",
    ("api.http.peers.Peers.end", "_take"): "an owner of requests, not of objects",
    ("api.http.peers.Peers.release", "_take"): "an owner of requests, not of objects",
}
# Those that take `within_quota` as True unless they are told otherwise.
BOUND_BY_DEFAULT = {"ScheduleService.accept", "WorkflowService.accept"}


@pytest.fixture
def caller(client: TestClient) -> Caller:
    return Caller(client)


def test_no_caller_leaves_a_guard_out() -> None:
    with cases() as case:
        for each in guarded_calls():
            if (each.caller, each.called) in LEFT_OUT or each.called == "types_for":
                continue
            for guard, given in each.given.items():
                with case(each.caller, each.called, guard):
                    by_default = guard == "within_quota" and each.called in BOUND_BY_DEFAULT
                    assert given in GIVEN[guard] or (given is None and by_default)
    assert LEFT_OUT.keys() <= {(each.caller, each.called) for each in guarded_calls()}


class Rule(NamedTuple):
    """A task that its caller could create until something is changed, and how it is refused then."""

    task: Mapping[str, Any]
    change: Callable[[Caller, pytest.MonkeyPatch], None]
    refused: Answer
    by_key: bool = False


def _lower(caller: Caller, _patch: pytest.MonkeyPatch) -> None:
    with SessionLocal.begin() as db:
        db.execute(update(User).where(User.id == UUID(caller.user["id"])).values(max_priority="low"))


def _exhaust(caller: Caller, patch: pytest.MonkeyPatch) -> None:
    caller.pending(RULES["quota"].task)
    patch.setattr(get_settings(), "quota_queued_tasks", 1)


RULES = {
    "type": Rule(
        BODY | {"celery_task_name": FETCH, "args": [], "kwargs": {"url": "https://example.com/"}, "priority": "low"},
        lambda _, patch: patch.setattr(get_settings(), "outbound_users", ["role:admin"]),
        Answer(403, "task_not_allowed"),
    ),
    "priority": Rule(
        BODY | {"args": [], "kwargs": {"duration": 1}, "priority": "high"}, _lower, Answer(403, "priority_not_allowed")
    ),
    "reading": Rule(
        BODY | {"celery_task_name": EXPORT, "args": [], "kwargs": {"filter": {}}, "priority": "low"},
        lambda *_: None,
        Answer(403, "insufficient_scope"),
        by_key=True,
    ),
    "quota": Rule(
        BODY | {"args": [], "kwargs": {"duration": 1}, "priority": "low"}, _exhaust, Answer(429, "queued_tasks_quota")
    ),
}
# By another rule, or with another outcome.
ELSEWHERE = {
    ("api.endpoints.bulk._answer", "TaskService.start_bulk"): "TestWhatRunsLater::test_a_bulk_retry_skips",
    ("web.views.bulk.start", "TaskService.start_bulk"): "TestWhatRunsLater::test_a_bulk_retry_skips",
}
WITHOUT = {
    "priority": {"mcp.calls.Call._submit"},  # it gives the highest one that its user may give
    "quota": {  # they create no task
        "api.endpoints.tasks.update_task",
        "api.endpoints.schedules.create_schedule",
        "api.endpoints.schedules.update_schedule",
        "web.views.new_schedule._Form._create",
        "web.views.new_schedule._Form._change",
    },
}


def test_every_caller_has_a_row() -> None:
    assert creators() == WAYS.keys() | ELSEWHERE.keys()
    assert builders_of("Rights") == {
        "services.accounts.auth_service.rights",  # those of every request
        "services.batched.submitter._rows_of_login",  # `_create_fast`
        "services.schedules.due_schedules._make",
        "services.bulk.steps._check_retry",
        "beat.entries._rights",
    }


@pytest.mark.parametrize("name", RULES)
def test_every_caller_keeps_the_rule(caller: Caller, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES[name]
    token = caller.key("tasks:write") if rule.by_key else caller.token
    ways = {
        at: way for at, way in WAYS.items() if at[0] not in WITHOUT.get(name, ()) and (way.by_key or not rule.by_key)
    }
    about = {at: way.about(caller, rule.task) for at, way in ways.items()}
    tools = caller.key("tasks:read", "tasks:write")
    rule.change(caller, monkeypatch)
    with cases() as case:
        for at, way in ways.items():
            with case(*at):
                by = tools if at[0].startswith("mcp.") and not rule.by_key else token
                answer = way.ask(caller, by, about[at], rule.task)
                assert answer.is_as(rule.refused), answer


def test_whoever_may_not_send_names_no_receiver(
    client: TestClient, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callers of `check_may_send`: tasks with a `webhook_url`, and endpoints of webhooks, by HTTP and on pages."""
    assert builders_of("check_may_send") == {
        "services.tasks.permissions.check_may_create",
        "api.endpoints.webhooks.create_webhook",
        "api.endpoints.webhooks.update_webhook",
        "web.views.webhooks.create_endpoint",
        "web.views.webhooks.change_endpoint",
    }
    endpoint = Things(caller).endpoint_id()
    RULES["type"].change(caller, monkeypatch)
    url, headers = {"url": "https://example.com/elsewhere"}, bearer(caller.token)
    made = {**url, "events": ["task.failed"]}
    with cases() as case:
        for method, path, body in (
            ("POST", "/webhooks/", made),
            ("PATCH", f"/webhooks/{endpoint}", url),
            ("POST", "/tasks/", BODY | {"webhook_url": url["url"]}),
        ):
            with case(method, path):
                assert client.request(method, f"/api/v1{path}", json=body, headers=headers).status_code == 403
        for path in ("/webhooks", f"/webhooks/{endpoint}/change"):
            with case("page", path):
                assert caller.reader.post(path, **made).status_code == 403


class TestReading:
    """What a key without `tasks:read` may not have read for it."""

    PROFILE = BODY | {"celery_task_name": "app.tasks.common_tasks.profile_data", "args": [], "delay_seconds": 3600}

    def asked(self, caller: Caller, path: str, body: Any, *scopes: str, method: str = "POST") -> tuple[int, str]:
        headers = bearer(caller.key(*(scopes or ("tasks:write",))))
        answer = caller.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        if answer.status_code == 403:
            assert 'scope="tasks:read"' in answer.headers["www-authenticate"]
        return answer.status_code, answer.json().get("code", "")

    def test_a_file_by_its_id(self, caller: Caller) -> None:
        file_id = Things(caller).file_id()
        for arguments in ({"kwargs": {"file": file_id}}, {"args": [file_id]}):
            assert self.asked(caller, "/tasks/", self.PROFILE | arguments) == (403, "insufficient_scope")
        assert self.asked(caller, "/tasks/", self.PROFILE | arguments, "tasks:read", "tasks:write")[0] == 201

    def test_the_result_of_another_task_that_may_be_a_file(self, caller: Caller) -> None:
        fetch = BODY | {"celery_task_name": "app.tasks.common_tasks.fetch_to_file", "args": [], "ref": "a"}
        fetch |= {"kwargs": {"url": "https://example.com/"}, "delay_seconds": 3600}
        profile = self.PROFILE | {"ref": "b", "kwargs": {"file": {"$result": "a", "path": ["artifact"]}}}
        body = {"name": "w", "tasks": [fetch, profile]}
        assert self.asked(caller, "/workflows/", body) == (403, "insufficient_scope")
        made = caller.asked("/workflows/", body)["id"]
        caller.asked(f"/workflows/{made}/cancel")
        assert self.asked(caller, f"/workflows/{made}/retry", None) == (403, "insufficient_scope")
        assert self.asked(caller, "/workflows/", {"name": "w", "tasks": [fetch]})[0] == 201

    def test_another_file_in_the_arguments_of_a_task(self, caller: Caller) -> None:
        things = Things(caller)
        task_id = caller.pending({**self.PROFILE, "kwargs": {"file": things.file_id()}})
        changed = {"kwargs": {"file": things.file_id()}}
        assert self.asked(caller, f"/tasks/{task_id}", changed, method="PATCH") == (403, "insufficient_scope")
        assert self.asked(caller, f"/tasks/{task_id}", {"priority": "low"}, method="PATCH")[0] == 200

    def test_the_time_of_what_stands_already(self, caller: Caller) -> None:
        """It is not checked: the arguments are those that another caller gave. Those of a change are."""
        things = Things(caller)
        task = {**self.PROFILE, "kwargs": {"file": things.file_id()}}
        path = f"/schedules/{caller.schedule({name: task[name] for name in task if name != 'delay_seconds'})}"
        with cases() as case:
            for method, at, body in (
                ("PATCH", path, {"every_seconds": 7200, "paused": False}),
                ("POST", f"{path}/pause", None),
                ("POST", f"{path}/resume", None),
                ("POST", f"/tasks/{caller.pending(task)}/run-now", None),
            ):
                with case(method, at):
                    assert self.asked(caller, at, body, method=method)[0] == 200
            for method, at, body in (
                ("PATCH", path, {"task": {"kwargs": {"file": things.file_id()}}}),
                ("POST", f"{path}/trigger", None),
            ):
                with case(method, at):
                    assert self.asked(caller, at, body, method=method) == (403, "insufficient_scope")

    def test_no_file_where_none_is_named(self) -> None:
        mail = catalogue()["app.tasks.high_priority_tasks.send_email"]
        assert not mail.reads(["a@example.com", "subject", "body"], {"attachments": None})
        assert not mail.reads([], {"to": "a@example.com", "subject": "s", "body": {"$result": "a"}, "attachments": []})
        assert mail.reads([], {"to": "a", "subject": "s", "body": "b", "attachments": [{"$result": "a"}]})
        assert mail.reads([], {"nothing": "that it takes any more"})

    def test_a_tool_that_would_be_refused_is_not_listed(self) -> None:
        rights = Rights(new_id(), "user", "critical", ["tasks:write"])
        shown = {kind.celery_task_name for kind in types_for(rights)}
        assert not shown & {EXPORT, self.PROFILE["celery_task_name"]}
        assert FETCH in shown

    def test_every_task_that_ships_says_so(self) -> None:
        """A body that asks for the tasks of its user stands in a module that imports what reads them."""
        reading = {kind.celery_task_name for kind in catalogue().values() if kind.reads_tasks}
        sources = {name: inspect.getsource(celery_app.tasks[name].run) for name in SHIPPED_TASKS}
        assert reading & SHIPPED_TASKS == {name for name, text in sources.items() if "task_service." in text}


class TestWhatRunsLater:
    @pytest.fixture
    def id_(self, caller: Caller) -> UUID:
        return UUID(caller.user["id"])

    @pytest.mark.parametrize("name", ["type", "priority"])
    def test_a_schedule_skips(self, caller: Caller, id_: UUID, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        rule = RULES[name]
        with SessionLocal() as db:
            schedule = schedule_service.get_schedule(db, UUID(caller.schedule(rule.task)), owner=id_)
            schedule_service.resume(db, schedule.id, owner=id_)
            rewind(db, schedule)
            rule.change(caller, monkeypatch)
            fire_all(db)
            (skipped,) = told_of_times(db, schedule)
        assert skipped != "run"

    @pytest.mark.parametrize("name", ["type", "priority", "reading"])
    def test_a_bulk_retry_skips(self, caller: Caller, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        rule = RULES[name]
        denied, other = caller.ended(rule.task), caller.ended(BODY | {"priority": "low"})
        token = caller.key("tasks:write") if rule.by_key else caller.token
        rule.change(caller, monkeypatch)
        ids, url = {"ids": [denied, other]}, "/api/v1/tasks/bulk/retry"
        for body in (ids, {"filter": {"status": "revoked"}}):
            if body is not ids:
                preview = caller.http.post(url, json=body | {"dry_run": True}, headers=bearer(token)).json()
                assert preview["matched"] == 1  # the other one waits again
            sent = body if body is ids else {"token": preview["token"]}
            deed = caller.http.post(url, json=sent, headers=bearer(token))
            assert deed.status_code == 202, deed.text
            run()
            read = caller.http.get(f"/api/v1/tasks/bulk/{deed.json()['id']}", headers=bearer(caller.token)).json()
            assert read["skipped"] == {rule.refused.code: 1}
            assert read["matched"] == read["done"] + 1

    def test_a_bulk_retry_by_a_key_that_only_writes_takes_what_names_no_file(
        self, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "smtp_host", "localhost")
        monkeypatch.setattr(get_settings(), "mail_domains", ["example.com"])
        monkeypatch.setattr(get_settings(), "mail_users", ["*"])
        mail = {"to": "a@example.com", "subject": "s", "body": "b"}
        body = BODY | {"celery_task_name": "app.tasks.high_priority_tasks.send_email", "args": []}
        plain = caller.ended(body | {"kwargs": mail})
        attached = caller.ended(body | {"kwargs": mail | {"attachments": [Things(caller).file_id()]}})
        key = bearer(caller.key("tasks:write"))
        deed = caller.http.post("/api/v1/tasks/bulk/retry", json={"ids": [plain, attached]}, headers=key).json()
        run()
        read = caller.http.get(f"/api/v1/tasks/bulk/{deed['id']}", headers=bearer(caller.token)).json()
        assert (read["matched"], read["done"], read["skipped"]) == (2, 1, {"insufficient_scope": 1})
        assert caller.http.get(f"/api/v1/tasks/{plain}", headers=bearer(caller.token)).json()["status"] == "pending"

    def test_an_import_of_beats_entries_leaves(
        self, caller: Caller, id_: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = {"task": FETCH, "schedule": 60.0, "kwargs": RULES["type"].task["kwargs"]}
        RULES["type"].change(caller, monkeypatch)
        with SessionLocal() as db:
            (line,) = import_entries(db, id_, [Source({"fetch": entry}, "UTC")], apply=True)
        assert line.outcome is Outcome.LEAVE


# Who asks for these is led elsewhere, whoever it is.
LEADS_ELSEWHERE = {"/schedules/{schedule_id}/backfill"}
STREAMS = {"/tasks/{task_id}/events"}

# What is of no user, or only an administrator's; a value of a choice; the own login.
OF_ALL = {
    *("/choices/{name}", "/bulk/{deed}", "/bulk/{deed}/preview"),
    *("/queues/{name:path}", "/queues/{name}", "/workers/{name}"),
}
OF_ADMINISTRATORS = {
    "/limits/{name}/delete",
    *(
        f"/users/{{user_id}}{rest}"
        for rest in ("", "/activate", "/deactivate", "/password", "/delete", "/second-factor/remove")
    ),
    "/queues/{name}/pause",
    "/queues/{name}/resume",
    "/queues/{name:path}/pause",
    "/queues/{name:path}/resume",
    "/workers/{name}/drain",
}


class TestWhoseObject:
    """Of the pages and the tools. `test_route_matrix.py` has the API."""

    def test_a_page_of_another_users_object_does_not_exist(self, client: TestClient, caller: Caller) -> None:
        """Every route of the pages with an object in its path: found by its owner, and by no stranger."""
        stranger, things = Caller(client), Things(caller)
        with cases() as case:
            for method, path in pages_of_objects():
                with case(method, path):
                    there = things.path(path)
                    form = FORMS.get(path, {}) | {"confirmed": "true"}
                    theirs = _asked(stranger.reader, method, there, form)
                    if method == "GET" and path in LEADS_ELSEWHERE:
                        assert theirs == 303
                        continue
                    if path not in OF_ADMINISTRATORS:
                        unconfirmed = _asked(stranger.reader, method, there, FORMS.get(path, {}))
                        assert (theirs, unconfirmed) == (404, 404)
                        assert path in STREAMS or _asked(caller.reader, method, there, form) != 404
                    else:
                        assert theirs == 403

    def test_a_tool_does_not_find_another_users_task(self, client: TestClient, caller: Caller) -> None:
        task_id = caller.pending(BODY)
        key = Caller(client).key("tasks:read", "tasks:write")
        with cases() as case:
            for tool in ("get_task", "wait_task", "cancel_task"):
                with case(tool):
                    params = {"name": tool, "arguments": {"task_id": task_id}}
                    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                    answer = client.post("/mcp", json=body, headers=bearer(key) | MCP_HEADERS)
                    assert told(answer).code == "task_not_found"


def pages_of_objects() -> list[tuple[str, str]]:
    """Every route of the pages whose path names an object of a user, or of all."""
    found = [route for route in create_pages(get_settings()).router.routes if getattr(route, "param_convertors", None)]
    return [
        (method, route.path_format)  # type: ignore[attr-defined]
        for route in found
        for method in sorted(route.methods - {"HEAD"})  # type: ignore[attr-defined]
        if route.path_format not in OF_ALL  # type: ignore[attr-defined]
    ]


def _asked(reader: Reader, method: str, path: str, form: Mapping[str, str]) -> int:
    if method == "POST":
        return reader.post(path, **form).status_code
    return reader.get(path).status_code
