"""A conversation with a running service that has every operation succeed, and that runs into most of its errors."""

from typing import Any
from uuid import uuid4

import httpx

from tests.support.accounts import API, PASSWORD, bearer, login, register
from tests.support.by_example import collection_of, operations_of, options_of, resources
from tests.support.databases import ENGINE
from tests.support.second_factors import present_code
from tests.support.stack import Stack
from tests.support.waiting import wait_for

LONG_RUNNING = "app.tasks.common_tasks.long_running_task"
PROFILE = "app.tasks.common_tasks.profile_data"
TASK: dict[str, Any] = {"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [0]}
LATER = TASK | {"delay_seconds": 3600}
DEEDS = ("cancel", "retry", "delete")
SETTINGS = {"WEBHOOK_SECRET": "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE="}
CODES = {
    *("bad_request", "method_not_allowed", "body_too_large", "headers_too_large", "not_found"),
    *("not_authenticated", "invalid_token", "invalid_credentials", "second_factor_required"),
    *("admin_only", "insufficient_scope", "login_only", "wrong_password", "wrong_otp"),
    *("task_not_found", "user_not_found", "session_not_found", "api_key_not_found", "second_factor_not_found"),
    *("invalid_transition", "task_active", "user_exists", "user_has_tasks", "last_admin", "precondition_failed"),
    *("second_factor_set",),
    *("validation_error", "unknown_task", "invalid_arguments", "invalid_cursor", "invalid_search", "weak_password"),
    *("queue_not_found", "worker_not_found", "error_group_not_found"),
    *("idempotency_key_reused", "idempotent_task_deleted"),
    *("webhook_not_found", "delivery_not_found", "webhook_limit", "webhook_disabled"),
    *("schedule_not_found", "invalid_schedule", "too_many_times", "idempotent_schedule_deleted"),
    *(
        "workflow_not_found",
        "invalid_workflow",
        "workflow_active",
        "workflow_transition",
        "idempotent_workflow_deleted",
    ),
    *("file_not_found", "artifact_not_found", "invalid_upload", "range_not_satisfiable"),
    *("bulk_deed_not_found", "bulk_deed_over", "preview_required", "token_expired", "token_mismatch"),
}


def converse(stack: Stack, http: httpx.Client) -> None:
    """Make all calls through `http`, which has no credentials of its own."""
    admin, user = register(http), register(http)
    stack.promote(admin["id"])
    boss, mine = _Caller(http, admin["username"]), _Caller(http, user["username"])
    _operations(http)
    _tasks(mine)
    _task_errors(http, mine)
    _bulk(mine)
    _stats_and_errors(mine)
    _users(boss)
    _credentials(mine, user)
    _second_factor(boss, mine, user)
    _logins(http, mine)
    boss("GET", "/audit")
    _queues_and_workers(stack, boss)
    _limits(boss)
    _webhooks(boss)
    _schedules(boss)
    _workflows(boss)
    _files(boss)
    _resources(stack, boss)


class _Caller:
    """Calls as a user who has just logged in; `caller("GET", "/users/me")`."""

    def __init__(self, http: httpx.Client, username: str) -> None:
        self.http, self.username = http, username
        self.tokens = login(http, username)
        self.called = set[str]()
        """The first parts of the paths."""

    def at(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self(method, path.removeprefix(API), **options)

    def __call__(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        token = bearer(self.tokens["access_token"])
        self.called.add(path.partition("?")[0].split("/")[1])
        return self.http.request(method, API + path, headers={**token, **(headers or {})}, **options)

    def task(self, **fields: Any) -> str:
        return str(self("POST", "/tasks/", json=TASK | fields).json()["id"])


def _operations(http: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/nothing-here"):
        http.get(path)
    http.get(f"{API}/tasks/")
    http.get(f"{API}/tasks/", headers=bearer("no-token"))
    http.delete("/healthz")
    http.get("/healthz?x=%00")
    http.post(f"{API}/auth/login", content=b"x" * 3_000_000)
    http.get("/healthz", headers={"X-Long": "x" * 40_000})


def _resources(stack: Stack, boss: _Caller) -> None:
    """What was not called: an item of each other resource is made, shown, listed, changed and deleted by its examples."""
    document = httpx.get(f"{stack.url}/openapi.json").json()  # not through `http`, which only knows what it describes
    called = frozenset(boss.called)

    def post(path: str, **options: Any) -> Any:
        return boss.at("POST", path, **options).json()

    for of in resources(document):
        if of.collection.split("/")[3] in called and not of.is_below_another:
            continue
        collection = collection_of(document, of, post)
        made = post(collection, **options_of(document, "POST", of.collection))
        item = f"{collection.rstrip('/')}/{of.key_of(made)}"
        for method, path in sorted(operations_of(document, of.item), key=lambda each: each[0] == "DELETE"):
            boss.at(method, path.replace(of.item, item), **options_of(document, method, path))
        boss.at("GET", collection)
        boss.at("GET", item)


def _limits(boss: _Caller) -> None:
    boss("PUT", "/limits/one", json={"concurrency": 1, "rate": {"count": 1, "period_seconds": 60}})
    boss("PUT", "/limits/none", json={})
    for path in ("/limits/", "/limits/one", "/limits/none"):
        boss("GET", path)
    held = [boss.task(limit="one") for _ in range(2)]
    boss("GET", f"/tasks/{held[1]}")
    boss("POST", "/tasks/", json=TASK | {"limit": "none"})
    boss("DELETE", "/limits/one")
    for task_id in held:
        boss("POST", f"/tasks/{task_id}/cancel")
    boss("DELETE", "/limits/none")
    wait_for(lambda: boss("DELETE", "/limits/one").is_success, 30, "the limit to be of no use to anybody")


def _webhooks(boss: _Caller) -> None:
    wanted = {"url": "https://billing.example.com/hooks", "events": ["task.succeeded"]}
    one = f"/webhooks/{boss('POST', '/webhooks/', json=wanted).json()['id']}"
    for _ in range(19):
        boss("POST", "/webhooks/", json=wanted)
    boss("POST", "/webhooks/", json=wanted)
    boss("PATCH", one, json={"filter": {"tag": "nightly"}})
    boss("POST", f"{one}/rotate")
    delivery = boss("POST", f"{one}/test").json()["id"]
    boss("POST", f"{one}/deliveries/{delivery}/redeliver")
    boss("POST", f"{one}/deliveries/{uuid4()}/redeliver")
    boss("POST", f"{one}/recover", json={"since": "2026-01-01T00:00:00Z"})
    task = boss.task(delay_seconds=3600, webhook_url="https://billing.example.com/hooks")
    boss("POST", f"/tasks/{task}/cancel")
    for path in ("/webhooks/", one, f"{one}/deliveries", f"/tasks/{task}/deliveries", f"/webhooks/{uuid4()}"):
        boss("GET", path)
    boss("PATCH", one, json={"enabled": False})
    boss("POST", f"{one}/test")
    for each in boss("GET", "/webhooks/").json():
        boss("DELETE", f"/webhooks/{each['id']}")


def _schedules(boss: _Caller) -> None:
    body = {"name": "x", "task": TASK, "cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitter_seconds": 60}
    once = {"Idempotency-Key": "a schedule"}
    path = f"/schedules/{boss('POST', '/schedules/', json=body, headers=once).json()['id']}"
    boss("POST", "/schedules/", json=body, headers=once)
    for wrong in ({"cron": "x"}, {"timezone": "Nowhere"}, {"task": TASK | {"args": ["x"]}}, {"every_seconds": 1}):
        boss("POST", "/schedules/", json=body | wrong)
    boss("PATCH", path, json={"every_seconds": 3600, "start_at": "2020-01-01T00:00:00Z", "task": {"tags": ["a"]}})
    range_ = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-01T02:00:00Z"}
    for more in ({"dry_run": True}, {}, {"to": "2024-01-01T00:00:00Z"}):
        boss("POST", f"{path}/backfill", json=range_ | more)
    task_id = boss("POST", f"{path}/trigger").json()["id"]
    for read in (path, f"{path}/next", f"{path}/runs?limit=2", "/schedules/?paused=true", f"/tasks/{task_id}"):
        boss("GET", read)
    boss("GET", f"/tasks/?schedule_id={path.rpartition('/')[2]}")
    for deed in ("pause", "resume"):
        boss("POST", f"{path}/{deed}")
    boss("DELETE", path)
    boss("GET", path)
    boss("POST", "/schedules/", json=body, headers=once)


def _workflows(boss: _Caller) -> None:
    first, second = TASK | {"ref": "a", "delay_seconds": 3600}, TASK | {"ref": "b", "depends_on": ["a"]}
    body, once = {"name": "x", "tasks": [first, second]}, {"Idempotency-Key": "a workflow"}
    path = f"/workflows/{boss('POST', '/workflows/', json=body, headers=once).json()['id']}"
    boss("POST", "/workflows/", json=body, headers=once)
    boss("GET", f"{path}/events")
    for wrong in ([second], [first, first], [first | {"args": [{"$result": 7}]}], [first | {"args": ["x"]}]):
        boss("POST", "/workflows/", json=body | {"tasks": wrong})
    for read in (path, "/workflows/?status=pending&name=X&limit=1", "/workflows/?created_after=2020-01-01T00:00:00Z"):
        boss("GET", read)
    boss("DELETE", path)
    for deed in ("retry", "cancel", "cancel", "retry", "cancel"):
        boss("POST", f"{path}/{deed}")
    # The state of a workflow follows those of its tasks.
    wait_for(lambda: boss("GET", path).json()["status"] == "revoked", 30, "the workflow to end")
    boss("DELETE", path)
    boss("GET", path)
    boss("POST", "/workflows/", json=body, headers=once)


def _stats_and_errors(mine: _Caller) -> None:
    mine("GET", "/stats?window=24h&by=queue")
    failed = mine.task(args=[-1])
    mine("GET", f"/tasks/{failed}?wait=30")
    wait_for(lambda: mine("GET", "/errors/").json(), 30, "the failure to be in a group")
    (group, *_) = mine("GET", "/errors/").json()
    path = f"/errors/{group['fingerprint']}"
    for deed in ("resolve", "ignore", "reopen"):
        mine("POST", f"{path}/{deed}")
    mine("POST", f"{path}/ignore", json={"until": "2099-01-01T00:00:00Z"})
    mine("GET", path)
    mine("GET", f"/errors/{'0' * 32}")
    mine("GET", f"/tasks/?error={group['fingerprint']}")


def _queues_and_workers(stack: Stack, boss: _Caller) -> None:
    boss("POST", "/queues/default/pause", json={"reason": "a test"})
    paused, later = boss.task(), boss.task(delay_seconds=3600)
    for path in (f"/tasks/{paused}", f"/tasks/{later}", "/tasks/count?by=waiting_for"):
        boss("GET", path)
    for path in ("/queues/", "/queues/default/demand"):
        boss("GET", path)
    boss("POST", "/queues/default/resume")
    boss("POST", "/queues/nowhere/resume")
    # Not the one that runs the other tests' tasks.
    no_queues = "{}" if ENGINE == "postgresql" else "[]"
    row = f"(gen_random_uuid(), 'idle@test', 1, '{no_queues}', 1)"
    stack.sql(f"INSERT INTO worker_processes (id, name, pid, queues, concurrency) VALUES {row}")
    for path in ("/workers/", "/workers/idle@test", "/workers/none"):
        boss("GET", path)
    boss("POST", "/workers/idle@test/drain")


def _files(mine: _Caller) -> None:
    file_id = mine("POST", "/files/", files={"file": ("a.csv", b"a,b\n1,2\n", "text/csv")}).json()["id"]
    mine("POST", "/files/", files={"other": ("a.csv", b"")})
    for path in ("/files/", f"/files/{file_id}", f"/files/{uuid4()}"):
        mine("GET", path)
    tag = mine("GET", f"/files/{file_id}/content").headers["etag"]
    for headers in ({"Range": "bytes=0-1"}, {"Range": "bytes=9-"}, {"If-None-Match": tag}):
        mine("GET", f"/files/{file_id}/content", headers=headers)
    task_id = mine.task(celery_task_name=PROFILE, args=[file_id])
    mine("GET", f"/tasks/{task_id}?wait=30")
    mine("DELETE", f"/files/{file_id}")
    mine("GET", f"/tasks/{task_id}/artifacts")
    mine("GET", f"/tasks/{task_id}/artifacts/profile.json")
    mine("GET", f"/tasks/{task_id}/artifacts/none")


def _tasks(mine: _Caller) -> None:
    for fields in ({}, {"args": [-1]}, {"kwargs": {"steps": 2, "password": "hidden"}}):  # the second one fails
        task_id = mine.task(**fields)
        mine("GET", f"/tasks/{task_id}?wait=30")
        mine("GET", f"/tasks/{task_id}/attempts")
        mine("GET", f"/tasks/{task_id}/steps")
        for query in ("", "?follow=true"):
            mine("GET", f"/tasks/{task_id}/logs{query}")
            mine("GET", f"/tasks/{task_id}/output{query}")
    mine("GET", f"/tasks/{task_id}", headers={"If-None-Match": "*"})
    mine("GET", f"/tasks/{task_id}/events")
    mine("GET", "/tasks/events")
    pending = mine.task(delay_seconds=3600, expires_at="2100-01-01T00:00:00+02:00", max_attempts=3, metadata={"a": 1})
    mine("PATCH", f"/tasks/{pending}", json={"priority": "urgent", "tags": ["a"], "expires_at": None})
    mine("PATCH", f"/tasks/{pending}", json={"name": "y"}, headers={"If-Match": '"0"'})
    mine("DELETE", f"/tasks/{pending}")
    mine("POST", f"/tasks/{pending}/cancel")
    mine("POST", f"/tasks/{pending}/retry", json={"args": [0], "delay_seconds": 3600, "unique_key": "again"})
    again = mine("POST", f"/tasks/{pending}/retry", json={"unique_key": "again", "on_conflict": "return"}).json()["id"]
    mine("PATCH", f"/tasks/{again}", json={"kwargs": {"steps": 2}, "timeout_seconds": 60, "max_attempts": None})
    mine("POST", f"/tasks/{again}/run-now")
    mine("POST", f"/tasks/{pending}/run-now")
    mine("POST", f"/tasks/{pending}/retry")
    mine("POST", f"/tasks/{pending}/retry")
    mine("DELETE", f"/tasks/{pending}?force=true")
    running = mine.task(args=[60])
    mine("GET", f"/tasks/{running}?wait=1")
    mine("DELETE", f"/tasks/{running}?force=true")
    mine("POST", "/tasks/batch", json={"tasks": [LATER, LATER]})
    for path in (
        "/tasks/?limit=2",
        "/tasks/count",
        "/tasks/types",
        "/tasks/?cursor=x",
        "/tasks/?q=status:x",
        "/tasks/?user_id=all",
    ):
        mine("GET", path)


def _task_errors(http: httpx.Client, mine: _Caller) -> None:
    mine("GET", f"/tasks/{uuid4()}")
    for body in ({}, TASK | {"celery_task_name": "no.such.task"}, TASK | {"args": ["x"]}):
        mine("POST", "/tasks/", json=body)
    once = {"Idempotency-Key": "once"}
    task_id = mine("POST", "/tasks/", json=LATER, headers=once).json()["id"]
    mine("POST", "/tasks/", json=TASK, headers=once)
    mine("DELETE", f"/tasks/{task_id}?force=true")
    mine("POST", "/tasks/", json=LATER, headers=once)


def _bulk(mine: _Caller) -> None:
    wanted = {"filter": {"status": ["failed", "succeeded"], "tag": "x"}}
    tokens = {deed: mine("POST", f"/tasks/bulk/{deed}", json=wanted | {"dry_run": True}) for deed in DEEDS}
    mine("POST", "/tasks/bulk/cancel", json={"token": tokens["delete"].json()["token"]})
    for deed, answer in tokens.items():
        accepted = mine("POST", f"/tasks/bulk/{deed}", json={"token": answer.json()["token"]}).json()
    for body in (wanted, {"token": "x"}, {}):
        mine("POST", "/tasks/bulk/cancel", json=body)
    mine("POST", "/tasks/bulk/cancel", json={"ids": [str(uuid4())]})
    one = f"/tasks/bulk/{accepted['id']}"
    wait_for(lambda: mine("GET", one).json()["state"] == "finished", 30, "a bulk operation to end")
    mine("POST", f"{one}/abort")
    wait_for(lambda: _aborted(mine), 30, "a bulk operation that runs")
    mine("GET", f"/tasks/bulk/{uuid4()}")


def _aborted(mine: _Caller) -> bool:
    accepted = mine("POST", "/tasks/bulk/cancel", json={"ids": [str(uuid4())]}).json()
    return mine("POST", f"/tasks/bulk/{accepted['id']}/abort").is_success


def _users(boss: _Caller) -> None:
    body = {"username": "newcomer", "email": "newcomer@example.com", "password": PASSWORD}
    user_id = boss("POST", "/users/", json=body).json()["id"]
    boss("POST", "/users/", json=body)
    boss("POST", "/users/", json=body | {"username": "weak", "password": "password"})
    newcomer = _Caller(boss.http, "newcomer")
    task_id = newcomer.task(delay_seconds=3600)
    for path in (f"/users/{user_id}", f"/users/{uuid4()}", "/users/?limit=1", "/users/"):
        boss("GET", path)
    boss("DELETE", f"/users/{user_id}")
    boss("POST", f"/tasks/{task_id}/cancel")
    boss("PATCH", f"/users/{user_id}", json={"email": "other@example.com", "is_active": False})
    boss("DELETE", f"/users/{user_id}")
    boss("PATCH", f"/users/{boss('GET', '/users/me').json()['id']}", json={"role": "user"})


def _credentials(mine: _Caller, user: dict[str, Any]) -> None:
    key = mine("POST", "/auth/api-keys", json={"name": "k", "scopes": ["tasks:read"]}).json()
    mine("GET", "/auth/api-keys")
    mine("GET", f"/auth/api-keys/{uuid4()}")
    for method, path in (("POST", "/tasks/"), ("GET", "/auth/api-keys")):  # without the scope, and without a login
        mine.http.request(method, API + path, headers=bearer(key["key"]), json=TASK if method == "POST" else None)
    mine("GET", f"/auth/api-keys/{key['id']}")
    mine("DELETE", f"/auth/api-keys/{key['id']}")
    mine("PATCH", "/users/me", json={"email": f"{user['username']}@example.org"})
    mine("GET", "/users/me/webhook-secret")
    mine("GET", "/users/")


def _second_factor(boss: _Caller, mine: _Caller, user: dict[str, Any]) -> None:
    begun = {"current_password": PASSWORD}
    mine("DELETE", "/users/me/totp", json=begun | {"otp": "000000"})
    secret = mine("POST", "/users/me/totp", json=begun).json()["secret"]
    for otp in ("x", present_code(secret)):
        codes = mine("POST", "/users/me/totp/confirm", json={"otp": otp}).json().get("recovery_codes")
    mine("POST", "/users/me/totp", json=begun)
    form = {"username": mine.username, "password": PASSWORD}
    for otp in ("", codes[0]):
        mine.http.post(f"{API}/auth/login", data=form | {"otp": otp})
    for otp in ("x", codes[1]):
        mine("DELETE", "/users/me/totp", json=begun | {"otp": otp})
    mine("POST", "/users/me/totp", json=begun)
    boss("DELETE", f"/users/{user['id']}/totp")
    mine.tokens = login(mine.http, mine.username)


def _logins(http: httpx.Client, mine: _Caller) -> None:
    http.post(f"{API}/auth/login", data={"username": mine.username, "password": "wrong"})
    mine.tokens = http.post(f"{API}/auth/refresh", json={"refresh_token": mine.tokens["refresh_token"]}).json()
    login(http, mine.username)
    logins = mine("GET", "/auth/sessions").json()
    mine("DELETE", f"/auth/sessions/{next(each['id'] for each in logins if not each['current'])}")
    mine("DELETE", f"/auth/sessions/{uuid4()}")
    mine("DELETE", "/auth/sessions")
    for current in ("wrong", PASSWORD):
        mine("PUT", "/users/me/password", json={"current_password": current, "new_password": PASSWORD})
    mine.tokens = login(http, mine.username)
    mine("POST", "/auth/logout")
