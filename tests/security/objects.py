"""Somebody else's things: they look as if they did not exist, and nothing of theirs can be set."""

from typing import Any

import httpx

from tests.security.registry import OBJECTS, PROPERTIES, check, expect
from tests.security.target import Target

UNKNOWN = "01890000-0000-7000-8000-000000000000"
CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PATCH", "", {"name": "mine now"}),
    ("DELETE", "", None),
    ("DELETE", "?force=true", None),
    ("POST", "/cancel", None),
    ("POST", "/retry", None),
    ("GET", "/attempts", None),
)
SAME_BUT_FOR = {"instance", "request_id"}


def _call(target: Target, method: str, task_id: str, suffix: str, body: Any) -> httpx.Response:
    options = {} if body is None else {"json": body}
    return target.ask(method, f"/tasks/{task_id}{suffix}", target.mallory.token, **options)


@check(OBJECTS)
def foreign_task(target: Target) -> None:
    """Another user's task answers 404 on every method"""
    for method, suffix, body in CALLS:
        answer = _call(target, method, target.task["id"], suffix, body)
        expect(answer.status_code == 404, f"{method} …{suffix}: {answer.status_code}")


@check(OBJECTS)
def foreign_looks_unknown(target: Target) -> None:
    """Another user's task answers exactly as an unknown id does"""
    for method, suffix, body in CALLS:
        foreign, unknown = (_call(target, method, task_id, suffix, body) for task_id in (target.task["id"], UNKNOWN))
        expect(
            foreign.status_code == unknown.status_code,
            f"{method} …{suffix}: {foreign.status_code} and {unknown.status_code}",
        )
        mine, other = (
            {k: v for k, v in answer.json().items() if k not in SAME_BUT_FOR} for answer in (foreign, unknown)
        )
        expect(mine == other, f"{method} …{suffix}: the bodies differ")


@check(OBJECTS)
def foreign_in_lists(target: Target) -> None:
    """Another user's task is in no list and no count, whatever the filter"""
    for params in ({}, {"user_id": target.alice.id}, {"user_id": "all"}, {"task_type": target.task["task_type"]}):
        answer = target.ask("GET", "/tasks/", target.mallory.token, params=params)
        expect(answer.status_code < 500, f"list with {params}: {answer.status_code}")
        seen = [task["id"] for task in answer.json()] if answer.status_code == 200 else []
        expect(target.task["id"] not in seen, f"listed with {params}")
        counted = target.ask("GET", "/tasks/count", target.mallory.token, params={**params, "status": "pending"})
        total = counted.json()["total"] if counted.status_code == 200 else 0
        own = sum(token == target.mallory.token for _, token in target.created)
        expect(total <= own, f"counted with {params}: {total} where {own} are one's own")


@check(OBJECTS)
def foreign_unchanged(target: Target) -> None:
    """Another user's attempts leave the task as it was"""
    for method, suffix, body in CALLS:
        _call(target, method, target.task["id"], suffix, body)
    now = target.ask("GET", f"/tasks/{target.task['id']}", target.alice.token)
    expect(now.status_code == 200, f"its owner gets {now.status_code}")
    changed = [key for key in ("name", "status", "version", "user_id") if now.json()[key] != target.task[key]]
    expect(not changed, f"changed: {changed}")


@check(OBJECTS)
def hostile_ids(target: Target) -> None:
    """Ids that are none are answered 404 or 422, however long"""
    for task_id in ("0", "-1", "1" * 5000, "../users/me", "%00", "'", "null", "{}", UNKNOWN + "'"):
        answer = target.ask("GET", f"/tasks/{task_id}", target.mallory.token)
        expect(
            answer.status_code in {400, 404, 414, 422} or "%2F" in task_id or "/" in task_id,
            f"{task_id[:20]!r}: {answer.status_code}",
        )
        expect(answer.status_code < 500, f"{task_id[:20]!r}: {answer.status_code}")


@check(PROPERTIES)
def role_at_registration(target: Target) -> None:
    """Nobody registers as an administrator"""
    body = {"username": "x-" + target.mallory.username, "email": "x-" + target.mallory.email, "role": "admin"}
    answer = target.ask("POST", "/auth/register", json={**body, "password": target.mallory.password})
    role = answer.json().get("role") if answer.status_code == 201 else "refused"
    expect(role in {"user", "refused"} and answer.status_code < 500, f"{answer.status_code} with role {role}")


@check(PROPERTIES)
def own_role(target: Target) -> None:
    """Nobody raises their own role or wakes their own account"""
    for change in ({"role": "admin"}, {"is_active": True, "role": "admin"}, {"id": target.alice.id}):
        target.ask("PATCH", "/users/me", target.mallory.token, json=change)
    me = target.ask("GET", "/users/me", target.mallory.token).json()
    expect(me["role"] == "user" and me["id"] == target.mallory.id, f"now {me['role']} with id {me['id']}")


@check(PROPERTIES)
def foreign_owner(target: Target) -> None:
    """A task cannot be created in another's name, nor with a status, id or queue of one's choice"""
    wishes = (
        {"user_id": target.alice.id}, {"status": "succeeded"}, {"progress": 100}, {"id": target.task["id"]},
        {"celery_id": target.task["id"]}, {"queue": "elsewhere"}, {"attempt": 9},
    )  # fmt: skip
    for wish in wishes:
        answer = target.new_task(target.mallory.token, **wish)
        expect(answer.status_code < 500, f"{wish}: {answer.status_code}")
        granted = answer.status_code == 201 and all(answer.json().get(key) == value for key, value in wish.items())
        expect(not granted, f"granted: {wish}")


@check(PROPERTIES)
def own_status(target: Target) -> None:
    """An owner cannot write status, progress or result of a task"""
    created = target.new_task(target.mallory.token)
    expect(created.status_code == 201, f"creating one: {created.status_code}")
    for change in ({"status": "succeeded"}, {"progress": 99}, {"result": {"x": 1}}, {"user_id": target.alice.id}):
        answer = target.ask("PATCH", f"/tasks/{created.json()['id']}", target.mallory.token, json=change)
        expect(400 <= answer.status_code < 500, f"PATCH {change}: {answer.status_code}")


@check(PROPERTIES)
def password_hash(target: Target) -> None:
    """No answer about a user holds a password or its hash"""
    for path in ("/users/me",):
        text = target.ask("GET", path, target.alice.token).text
        expect("argon2" not in text and "password" not in text and "hash" not in text, f"GET {path} tells of it")


@check(PROPERTIES)
def secrets_in_answers(target: Target) -> None:
    """A secret among a task's arguments is in no answer, not even its owner's"""
    secret = "s3cret-" + target.mallory.id
    kwargs = {"password": secret, "nested": [{"api_key": secret, "Authorization": f"Bearer {secret}"}]}
    created = target.new_task(target.mallory.token, kwargs=kwargs)
    expect(created.status_code == 201, f"creating it: {created.status_code}")
    path = f"/tasks/{created.json()['id']}"
    renamed = target.ask("PATCH", path, target.mallory.token, json={"name": "renamed"})
    answers = [created, renamed, *(target.ask("GET", each, target.mallory.token) for each in (path, "/tasks/"))]
    shown = [f"{answer.request.method} {answer.request.url.path}" for answer in answers if secret in answer.text]
    expect(not shown, f"shown by {shown}")


@check(PROPERTIES)
def only_catalogue_tasks(target: Target) -> None:
    """Only catalogue tasks run: no Celery built-in, no module path"""
    for name in ("celery.chord_unlock", "celery.backend_cleanup", "os.system", "app.main.create_app", "__import__"):
        answer = target.new_task(target.mallory.token, celery_task_name=name)
        expect(400 <= answer.status_code < 500, f"{name}: {answer.status_code}")
