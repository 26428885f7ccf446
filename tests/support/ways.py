"""How each caller of `tests/support/callers.py` is reached: what its request is about, and the request."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx
from starlette.testclient import TestClient

from tests.support.accounts import API, bearer, login, register
from tests.support.page_reader import Reader, signed_in
from tests.support.task_client import BODY
from tests.support.tasks import LONG_RUNNING

Task = Mapping[str, Any]
# Of a schedule: nothing fires it in a test.
EACH_HOUR = {"every_seconds": 3600, "start_at": "2020-01-01T00:00:00Z", "paused": True}
RANGE = {"from": "2021-01-01T00:00:00Z", "to": "2021-01-01T00:00:00Z"}
MCP_HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


class Answer(NamedTuple):
    """The status of an answer, and the code of its problem. A page has no code, and a tool no status."""

    status: int | None
    code: str | None

    def is_as(self, other: "Answer") -> bool:
        """Whether the two say the same, as far as both say it."""
        pairs = ((self.status, other.status), (self.code, other.code))
        return self != (None, None) and all(None in pair or pair[0] == pair[1] for pair in pairs)


class Caller:
    """One user, by a login, by an API key that only writes, and in a browser; and what is made for the requests."""

    def __init__(self, client: TestClient) -> None:
        self.http = client
        self.user = register(client)
        self.token = login(client, self.user["username"])["access_token"]
        self.reader: Reader = signed_in(client, self.user)

    def key(self, *scopes: str) -> str:
        """A new key with these scopes."""
        return str(self.asked("/auth/api-keys", {"name": "k", "scopes": scopes})["key"])

    def asked(self, path: str, body: Any = None) -> dict[str, Any]:
        """What a request by the login is answered, which succeeds."""
        answer = self.http.post(f"{API}{path}", json=body, headers=bearer(self.token))
        assert answer.status_code < 300, answer.text
        return dict(answer.json())

    def pending(self, task: Task) -> str:
        """A task that waits for a time."""
        return str(self.asked("/tasks/", {**task, "delay_seconds": 3600})["id"])

    def ended(self, task: Task) -> str:
        """One that was cancelled."""
        task_id = self.pending(task)
        self.asked(f"/tasks/{task_id}/cancel")
        return task_id

    def waiting_workflow(self, task: Task) -> str:
        """A workflow of one task, which waits for a time."""
        tasks = [{**task, "ref": "a", "delay_seconds": 3600}]
        return str(self.asked("/workflows/", {"name": "w", "tasks": tasks})["id"])

    def workflow(self, task: Task) -> str:
        """One that was cancelled."""
        workflow_id = self.waiting_workflow(task)
        self.asked(f"/workflows/{workflow_id}/cancel")
        return workflow_id

    def schedule(self, task: Task) -> str:
        """A paused schedule of the task."""
        return str(self.asked("/schedules/", {"name": "s", **EACH_HOUR, "task": dict(task)})["id"])

    def nothing(self, _task: Task) -> str:
        """A request that is about nothing yet."""
        return ""


class Way(NamedTuple):
    """What a request is about, and the request: by this token, or, of a page, in the browser of the caller."""

    about: Callable[[Caller, Task], str]
    ask: Callable[[Caller, str, str, Task], Answer]
    by_key: bool = True


def _api(about: Callable[[Caller, Task], str], path: str, body: Callable[[Task], Any], method: str = "POST") -> Way:
    def ask(caller: Caller, token: str, object_id: str, task: Task) -> Answer:
        url = API + path.format(object_id)
        answer = caller.http.request(method, url, json=body(task), headers=bearer(token))
        return Answer(answer.status_code, answer.json().get("code"))

    return Way(about, ask)


def _page(about: Callable[[Caller, Task], str], path: str, form: Callable[[Task], Mapping[str, Any]]) -> Way:
    def ask(caller: Caller, _token: str, object_id: str, task: Task) -> Answer:
        answer = caller.reader.post(path.format(object_id), **form(task))
        return Answer(answer.status_code, None)

    return Way(about, ask, by_key=False)


def _form(task: Task) -> dict[str, str]:
    """The form of a task that everybody may create, with the JSON of this one: what the JSON says counts."""
    return {"celery_task_name": LONG_RUNNING, "by": "json", "json": json.dumps(dict(task))}


def _schedule_form(task: Task) -> dict[str, str]:
    return {**_form(task), "schedule.name": "s", "schedule.by": "cron", "schedule.cron": "30 9 * * *"}


def _tool(caller: Caller, token: str, _object_id: str, task: Task) -> Answer:
    tool = re.sub(r"[^a-zA-Z0-9_]", "-", task["celery_task_name"])
    params = {"name": tool, "arguments": task.get("kwargs", {})}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return told(caller.http.post("/mcp", json=body, headers=bearer(token) | MCP_HEADERS))


def told(answer: httpx.Response) -> Answer:
    """The code of the error of a tool, which has no status of its own."""
    found = re.search(r'"content":\[\{"text":"(\w+): ', answer.text)
    return Answer(None, found and found[1])


WAYS: dict[tuple[str, str], Way] = {
    ("api.endpoints.tasks._create_fast", "Submitter.submit_of_login"): _api(Caller.nothing, "/tasks/", dict),
    ("api.endpoints.tasks.create_task", "Submitter.submit"): _api(Caller.nothing, "/tasks/?&", dict),
    ("api.endpoints.tasks.create_tasks", "Submitter.submit_all"): _api(
        Caller.nothing, "/tasks/batch", lambda task: {"tasks": [BODY | {"priority": "low"}, task]}
    ),
    ("api.endpoints.tasks.update_task", "TaskService.update_task"): _api(
        Caller.pending,
        "/tasks/{}",
        lambda task: {"kwargs": task.get("kwargs", {}), "priority": task.get("priority", "low")},
        "PATCH",
    ),
    ("api.endpoints.tasks.retry_task", "TaskService.retry_task"): _api(Caller.ended, "/tasks/{}/retry", lambda _: None),
    ("api.endpoints.tasks.retry_task", "TaskService.retry_with_changes"): _api(
        Caller.ended, "/tasks/{}/retry", lambda _: {"name": "again"}
    ),
    ("api.endpoints.workflows.create_workflow", "WorkflowService.accept"): _api(
        Caller.nothing, "/workflows/", lambda task: {"name": "w", "tasks": [{**task, "ref": "a"}]}
    ),
    ("api.endpoints.workflows.retry_workflow", "WorkflowService.retry_workflow"): _api(
        Caller.workflow, "/workflows/{}/retry", lambda _: None
    ),
    ("api.endpoints.schedules.create_schedule", "ScheduleService.accept"): _api(
        Caller.nothing, "/schedules/", lambda task: {"name": "s", **EACH_HOUR, "task": dict(task)}
    ),
    ("api.endpoints.schedules.update_schedule", "ScheduleService.update_schedule"): _api(
        Caller.schedule, "/schedules/{}", lambda _: {"task": {"name": "changed"}}, "PATCH"
    ),
    ("api.endpoints.schedules.trigger_schedule", "ScheduleService.trigger"): _api(
        Caller.schedule, "/schedules/{}/trigger", lambda _: None
    ),
    ("api.endpoints.schedules.backfill_schedule", "ScheduleService.backfill"): _api(
        Caller.schedule, "/schedules/{}/backfill", lambda _: RANGE
    ),
    ("mcp.calls.Call._submit", "Submitter.submit"): Way(Caller.nothing, _tool),
    ("web.views.new_task.create_task", "TaskService.create_or_find"): _page(Caller.nothing, "/new", _form),
    ("web.views.new_task.retry_with_changes", "TaskService.retry_with_changes"): _page(
        Caller.ended, "/tasks/{}/change", _form
    ),
    ("web.views.new_schedule._Form._create", "ScheduleService.accept"): _page(
        Caller.nothing, "/schedules/new", _schedule_form
    ),
    ("web.views.new_schedule._Form._change", "ScheduleService.update_schedule"): _page(
        Caller.schedule, "/schedules/{}/change", lambda task: _schedule_form({**task, "name": "changed"})
    ),
    ("web.views.task.retry_task", "TaskService.retry_task"): _page(Caller.ended, "/tasks/{}/retry", lambda _: {}),
    ("web.views.workflows.retry_workflow", "WorkflowService.retry_workflow"): _page(
        Caller.workflow, "/workflows/{}/retry", lambda _: {}
    ),
    ("web.views.schedules.trigger_schedule", "ScheduleService.trigger"): _page(
        Caller.schedule, "/schedules/{}/trigger", lambda _: {}
    ),
    ("web.views.schedules.backfill_schedule", "ScheduleService.backfill"): _page(
        Caller.schedule,
        "/schedules/{}/backfill",
        lambda _: {"begin": RANGE["from"], "end": RANGE["to"], "confirmed": "true"},
    ),
}
