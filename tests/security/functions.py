"""What only administrators may do."""

from typing import Any

from tests.security.registry import FUNCTIONS, check, expect, expect_status
from tests.security.target import Target


def _calls(target: Target) -> list[tuple[str, str, dict[str, Any]]]:
    body = {"username": "made-by-" + target.mallory.username, "email": "m-" + target.mallory.email}
    user = f"/users/{target.alice.id}"
    return [
        ("GET", "/users/", {}),
        ("POST", "/users/", {"json": {**body, "password": target.mallory.password}}),
        ("GET", user, {}),
        ("PATCH", user, {"json": {"is_active": False}}),
        ("PATCH", f"/users/{target.mallory.id}", {"json": {"role": "admin"}}),
        ("PATCH", f"/users/{target.mallory.id}", {"json": {"max_priority": "critical"}}),
        ("PATCH", f"/users/{target.mallory.id}", {"json": {"weight": 100}}),
        ("DELETE", user, {}),
    ]


@check(FUNCTIONS)
def user_administration(target: Target) -> None:
    """A user without the role of an administrator administers no users"""
    for method, path, options in _calls(target):
        expect_status(target.as_mallory(method, path, **options), {403, 404}, f"{method} {path}")


@check(FUNCTIONS)
def anonymous_administration(target: Target) -> None:
    """A request without a token administers no users"""
    for method, path, options in _calls(target):
        expect_status(target.ask(method, path, **options), 401, f"{method} {path}")


@check(FUNCTIONS)
def claimed_role(target: Target) -> None:
    """A header that claims a role or another user changes nothing"""
    claims = {
        "X-Role": "admin",
        "X-User-Id": target.alice.id,
        "X-Forwarded-User": "admin",
        "X-Original-URL": "/api/v1/users/",
    }
    expect_status(target.as_mallory("GET", "/users/", headers=claims), {403, 404}, "GET /users/ with claims")
    me = target.as_mallory("GET", "/users/me", headers=claims)
    expect(me.json()["id"] == target.mallory.id, "GET /users/me with claims is another user")


@check(FUNCTIONS)
def method_override(target: Target) -> None:
    """A header cannot turn a GET into a DELETE"""
    path = f"/tasks/{target.task['id']}"
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        target.as_alice("GET", path + "?force=true&_method=DELETE", headers={name: "DELETE"})
        answer = target.as_alice("GET", path)
        expect(answer.status_code == 200 and answer.json()["status"] == "pending", f"{name} was obeyed")


@check(FUNCTIONS)
def audit_is_for_administrators(target: Target) -> None:
    """The audit is shown to administrators alone"""
    for token, expected in ((None, {401}), (target.mallory.token, {403, 404})):
        answer = target.ask("GET", "/audit", token)
        expect(answer.status_code in expected, f"GET /audit: {answer.status_code}")


@check(FUNCTIONS)
def what_is_deleted_or_shown_in_clear_is_in_the_audit(target: Target) -> None:
    """The deletion of a file and the reading of a webhook's secret leave a record in the audit"""
    uploaded = target.as_mallory("POST", "/files/", files={"file": ("a.csv", b"a\n", "text/csv")})
    path = f"/files/{expect_status(uploaded, 201, 'uploading a file').json()['id']}"
    expect_status(target.as_mallory("DELETE", path), 204, "deleting it")
    shown = target.as_mallory("GET", "/users/me/webhook-secret").status_code == 200  # 409: WEBHOOK_SECRET is not set
    admin = target.leftovers.admin_token
    if admin is None:  # only an administrator reads the audit
        return
    records = target.ask("GET", f"/audit?actor_id={target.mallory.id}&limit=200", admin).json()
    found = {(each["event"], each["object_id"]) for each in records}
    expect(("file.deleted", path.rpartition("/")[2]) in found, "the deletion of a file leaves no record")
    expect(not shown or "webhook.secret_read" in {event for event, _ in found}, "reading a secret leaves no record")


@check(FUNCTIONS)
def queues_and_workers_are_steered_by_administrators(target: Target) -> None:
    """Queues and workers are steered, and workers shown, by administrators alone"""
    # Calls that do no harm to a service which follows them.
    for method, path in (("POST", "/queues/default/resume"), ("GET", "/workers/"), ("POST", "/workers/none/drain")):
        expect_status(target.ask(method, path), 401, f"{method} {path}")
        expect_status(target.as_mallory(method, path), {403, 404}, f"{method} {path}")
