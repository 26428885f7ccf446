"""Another user's objects: they look as if they did not exist, and none of their fields can be set."""

import re
import time
from typing import Any

import httpx

from tests.security.registry import HANDLED, OBJECTS, PROPERTIES, REFUSED, check, expect, expect_status
from tests.security.target import Target
from tests.support.by_example import collection_of, operations_of, options_of, resources
from tests.support.leftovers import API

UNKNOWN = "01890000-0000-7000-8000-000000000000"
CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PATCH", "", {"name": "mine now"}),
    ("DELETE", "", None),
    ("DELETE", "?force=true", None),
    ("POST", "/cancel", None),
    ("POST", "/retry", None),
    ("POST", "/retry", {"args": [1]}),
    ("POST", "/run-now", None),
    ("GET", "/attempts", None),
    ("GET", "/logs", None),
    ("GET", "/logs?follow=true", None),
    ("GET", "/output", None),
    ("GET", "/output?follow=true", None),
)
# After so long maintenance has made an artifact of a task that has succeeded one that stays; nothing tells of it.
KEPT_SECONDS = 3.0
EXPORT = "app.tasks.common_tasks.export_tasks"
SAME_BUT_FOR = {"instance", "request_id"}


def _call(target: Target, method: str, path: str, body: Any) -> httpx.Response:
    return target.as_mallory(method, path, **({} if body is None else {"json": body}))


def expect_unknown(target: Target, method: str, path: str, foreign: str, body: Any = None) -> None:
    """Mallory gets the same 404 for a foreign id in the path's `{}` as for an unknown one."""
    answers = [_call(target, method, path.format(each), body) for each in (foreign, UNKNOWN)]
    codes = [answer.status_code for answer in answers]
    expect(codes == [404, 404], f"{method} {path}: {codes}")
    mine, other = ({k: v for k, v in answer.json().items() if k not in SAME_BUT_FOR} for answer in answers)
    expect(mine == other, f"{method} {path}: the bodies differ")


@check(OBJECTS)
def foreign_task(target: Target) -> None:
    """Another user's task answers 404 on every method"""
    for method, suffix, body in CALLS:
        expect_status(_call(target, method, f"/tasks/{target.task['id']}{suffix}", body), 404, f"{method} …{suffix}")


@check(OBJECTS)
def foreign_looks_unknown(target: Target) -> None:
    """Another user's task answers exactly as an unknown id does"""
    for method, suffix, body in CALLS:
        expect_unknown(target, method, f"/tasks/{{}}{suffix}", target.task["id"], body)


@check(OBJECTS)
def foreign_item(target: Target) -> None:
    """Another user's item of any other resource answers exactly as an unknown id does, on every method"""
    answer = target.as_alice("GET", "//openapi.json")
    document = answer.json() if answer.status_code == 200 else {"paths": {}}

    def post(path: str, **options: Any) -> Any:
        return target.as_alice("POST", path.removeprefix(API), **options).json()

    for of in resources(document):
        if of.collection == f"{API}/tasks/" or not of.parameter.endswith("_id"):
            continue
        collection = collection_of(document, of, post).removeprefix(API)
        made = target.as_alice("POST", collection, **options_of(document, "POST", of.collection))
        if made.status_code != 201:  # of administrators
            continue
        key = of.key_of(made.json())
        for method, path in operations_of(document, of.item):
            one = path.replace(of.item, f"{collection.rstrip('/')}/{{}}")
            one = re.sub(r"\{\w+\}", UNKNOWN, one)  # of what stands below it
            expect_unknown(target, method, one, key, options_of(document, method, path).get("json"))
        target.as_alice("DELETE", f"{collection.rstrip('/')}/{key}")


@check(OBJECTS)
def artifacts_of_deleted_tasks(target: Target) -> None:
    """From the deletion of a task on nobody reads its artifacts"""
    types = {each["celery_task_name"] for each in target.as_mallory("GET", "/tasks/types").json()}
    if EXPORT not in types:
        return  # an installation without tables
    body = {"name": "security test", "task_type": "security_test", "celery_task_name": EXPORT,
            "kwargs": {"filter": {}, "output": "csv"}}  # fmt: skip
    task = expect_status(target.as_mallory("POST", "/tasks/", json=body), 201, "an export").json()
    for _ in range(4):  # the first table of a worker takes seconds
        ended = target.as_mallory("GET", f"/tasks/{task['id']}?wait=10").json()
        if ended["status"] in {"succeeded", "failed"}:
            break
    found = target.as_mallory("GET", f"/tasks/{task['id']}/artifacts").json()
    if not found:
        expect(ended["status"] != "succeeded", "an export without an artifact")
        return  # no worker runs
    time.sleep(KEPT_SECONDS)
    expect_status(target.as_mallory("DELETE", f"/tasks/{task['id']}"), 204, "the deletion")
    for path in ("", "/content"):
        expect_status(target.as_mallory("GET", f"/files/{found[0]['id']}{path}"), 404, f"its artifact{path}")


@check(OBJECTS)
def foreign_in_bulk(target: Target) -> None:
    """Another user's task looks unknown to a bulk operation, and so does another user's bulk operation"""
    task_id = target.task["id"]
    shown = [
        expect_status(
            target.as_mallory("POST", "/tasks/bulk/delete", json={"ids": [each], "dry_run": True}), 200
        ).json()
        for each in (task_id, UNKNOWN)
    ]
    seen = [(each["matched"], each["sample"]) for each in shown]
    expect(seen == [(0, [])] * 2, f"a dry run shows {seen}")
    for wanted in ({"user_id": target.alice.id}, {"user_id": "all"}):
        body = {"filter": wanted, "dry_run": True}
        expect_status(target.as_mallory("POST", "/tasks/bulk/cancel", json=body), 403, f"{wanted}")
    theirs = expect_status(target.as_alice("POST", "/tasks/bulk/cancel", json={"ids": [UNKNOWN]}), 202).json()["id"]
    expect_unknown(target, "GET", "/tasks/bulk/{}", theirs)
    expect_unknown(target, "POST", "/tasks/bulk/{}/abort", theirs)


@check(OBJECTS)
def foreign_in_lists(target: Target) -> None:
    """Another user's task is in no list and no count, whatever the filter"""
    for params in ({}, {"user_id": target.alice.id}, {"user_id": "all"}, {"task_type": target.task["task_type"]}):
        answer = expect_status(target.as_mallory("GET", "/tasks/", params=params), HANDLED, f"list with {params}")
        seen = [task["id"] for task in answer.json()] if answer.status_code == 200 else []
        expect(target.task["id"] not in seen, f"listed with {params}")
        counted = target.as_mallory("GET", "/tasks/count", params={**params, "status": "pending"})
        total = counted.json()["total"] if counted.status_code == 200 else 0
        own = sum(owner == target.mallory.id for _, owner in target.created)
        expect(total <= own, f"counted with {params}: {total} where {own} are one's own")


@check(OBJECTS)
def foreign_unchanged(target: Target) -> None:
    """Another user's attempts leave the task as it was"""
    for method, suffix, body in CALLS:
        _call(target, method, f"/tasks/{target.task['id']}{suffix}", body)
    now = target.as_alice("GET", f"/tasks/{target.task['id']}")
    expect(now.status_code == 200, f"its owner gets {now.status_code}")
    changed = [key for key in ("name", "status", "version", "user_id") if now.json()[key] != target.task[key]]
    expect(not changed, f"changed: {changed}")


@check(OBJECTS)
def foreign_unique_key(target: Target) -> None:
    """Another user's unique_key is free: it tells of no task, returns none and replaces none"""
    key = f"security test of {target.alice.id}"
    theirs = expect_status(target.new_task(target.alice, unique_key=key), 201, "their task")
    for on_conflict, allowed in (("reject", 201), ("return", 200), ("replace", 200)):
        answer = expect_status(target.new_task(unique_key=key, on_conflict=on_conflict), allowed, on_conflict)
        owner = answer.json()["user_id"]
        expect(owner == target.mallory.id, f"{on_conflict}: answered a task of {owner}")
    now = target.as_alice("GET", f"/tasks/{theirs.json()['id']}").json()
    expect(now["version"] == theirs.json()["version"], "their task has changed")


@check(OBJECTS)
def hostile_ids(target: Target) -> None:
    """Ids that are none are answered 404 or 422, however long"""
    for task_id in ("0", "-1", "1" * 5000, "../users/me", "%00", "'", "null", "{}", UNKNOWN + "'"):
        answer = target.as_mallory("GET", f"/tasks/{task_id}")
        expect_status(answer, HANDLED if "/" in task_id else {400, 404, 414, 422}, repr(task_id[:20]))


@check(PROPERTIES)
def role_at_registration(target: Target) -> None:
    """A registration gives no role of an administrator"""
    body = {"username": "x-" + target.mallory.username, "email": "x-" + target.mallory.email, "role": "admin"}
    answer = target.ask("POST", "/auth/register", json={**body, "password": target.mallory.password})
    role = answer.json().get("role") if answer.status_code == 201 else "refused"
    expect(role in {"user", "refused"} and answer.status_code < 500, f"{answer.status_code} with role {role}")


@check(PROPERTIES)
def own_role(target: Target) -> None:
    """A user cannot change the own role, id or state"""
    for change in ({"role": "admin"}, {"is_active": True, "role": "admin"}, {"id": target.alice.id}):
        target.as_mallory("PATCH", "/users/me", json=change)
    me = target.as_mallory("GET", "/users/me").json()
    expect(me["role"] == "user" and me["id"] == target.mallory.id, f"now {me['role']} with id {me['id']}")


@check(PROPERTIES)
def foreign_owner(target: Target) -> None:
    """A task cannot be created in another's name, nor with a status, id or queue of one's choice"""
    wishes = (
        {"user_id": target.alice.id}, {"status": "succeeded"}, {"progress": 100}, {"id": target.task["id"]},
        {"celery_id": target.task["id"]}, {"queue": "elsewhere"}, {"attempt": 9},
    )  # fmt: skip
    for wish in wishes:
        answer = expect_status(target.new_task(**wish), HANDLED, f"{wish}")
        granted = answer.status_code == 201 and all(answer.json().get(key) == value for key, value in wish.items())
        expect(not granted, f"granted: {wish}")


@check(PROPERTIES)
def own_status(target: Target) -> None:
    """An owner cannot write status, progress or result of a task"""
    created = target.new_task()
    expect_status(created, 201, "creating one")
    for change in ({"status": "succeeded"}, {"progress": 99}, {"result": {"x": 1}}, {"user_id": target.alice.id}):
        answer = target.as_mallory("PATCH", f"/tasks/{created.json()['id']}", json=change)
        expect_status(answer, REFUSED, f"PATCH {change}")


@check(PROPERTIES)
def password_hash(target: Target) -> None:
    """No answer about a user holds a password or its hash"""
    for path in ("/users/me",):
        text = target.as_alice("GET", path).text
        expect("argon2" not in text and "password" not in text and "hash" not in text, f"GET {path} tells of it")


@check(PROPERTIES)
def secrets_in_answers(target: Target) -> None:
    """A secret among a task's arguments is in no answer, not even its owner's"""
    secret = "s3cret-" + target.mallory.id
    kwargs = {"password": secret, "nested": [{"api_key": secret, "Authorization": f"Bearer {secret}"}]}
    created = target.new_task(kwargs=kwargs)
    expect_status(created, 201, "creating it")
    path = f"/tasks/{created.json()['id']}"
    renamed = target.as_mallory("PATCH", path, json={"name": "renamed"})
    answers = [created, renamed, *(target.as_mallory("GET", each) for each in (path, "/tasks/"))]
    shown = [f"{answer.request.method} {answer.request.url.path}" for answer in answers if secret in answer.text]
    expect(not shown, f"shown by {shown}")


@check(PROPERTIES)
def only_catalogue_tasks(target: Target) -> None:
    """Only catalogue tasks run: no Celery built-in, no module path"""
    for name in ("celery.chord_unlock", "celery.backend_cleanup", "os.system", "app.main.create_app", "__import__"):
        expect_status(target.new_task(celery_task_name=name), REFUSED, name)
