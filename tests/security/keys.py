"""API keys: what machines log in with must do no more than it says, and not for ever."""

from typing import Any

from tests.security.forwarding import FETCH
from tests.security.objects import expect_unknown
from tests.security.registry import AUTHENTICATION, FUNCTIONS, OBJECTS, PROPERTIES, check, expect, expect_status
from tests.security.target import Target, task_body

KEYS = "/auth/api-keys"
EXPORT, PROFILE = (f"app.tasks.common_tasks.{name}" for name in ("export_tasks", "profile_data"))
SESSIONS = "/auth/sessions"


def _new_key(target: Target, token: str, *scopes: str) -> dict[str, Any]:
    answer = target.ask("POST", KEYS, token, json={"name": "security test", "scopes": [*scopes]})
    return dict(expect_status(answer, 201, "making a key").json())


@check(FUNCTIONS)
def key_scopes(target: Target) -> None:
    """An API key does no more than its scopes say"""
    reader = _new_key(target, target.mallory.token, "tasks:read")["key"]
    expect_status(target.ask("GET", "/tasks/", reader), 200, "a key that may read")
    created = target.ask("POST", "/tasks/", reader, json=task_body())
    expect_status(created, 403, "a key for reading creates")
    writer = _new_key(target, target.mallory.token, "tasks:write")["key"]
    expect_status(target.ask("GET", "/tasks/", writer), 403, "a key for writing lists")


@check(FUNCTIONS)
def key_for_writing_finds_nothing(target: Target) -> None:
    """A preview of a bulk operation shows an API key without tasks:read no task"""
    expect_status(target.new_task(), 201, "creating a task")
    writer = _new_key(target, target.mallory.token, "tasks:write")["key"]
    body = {"filter": {"status": "pending"}, "dry_run": True}
    answer = expect_status(target.ask("POST", "/tasks/bulk/cancel", writer, json=body), 200, "the preview")
    expect(not answer.json()["sample"], "the preview shows tasks")


@check(FUNCTIONS)
def write_key_has_nothing_read_for_it(target: Target) -> None:
    """A key without tasks:read cannot have a task read the owner's tasks or files, on any way to a task"""
    writer = _new_key(target, target.mallory.token, "tasks:write")["key"]
    uploaded = target.as_mallory("POST", "/files/", files={"file": ("a.csv", b"a,b\n1,2\n", "text/csv")})
    file_id = expect_status(uploaded, 201, "uploading a file").json()["id"]
    export = {**task_body(), "celery_task_name": EXPORT, "args": [], "kwargs": {"filter": {}}}
    profile = {**task_body(), "celery_task_name": PROFILE, "args": [], "kwargs": {"file": file_id}}
    of_export = {"file": {"$result": "a", "path": ["artifact"]}}
    scheduled = {name: value for name, value in export.items() if name != "run_at"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/tasks/", export),
        ("/tasks/", profile),
        ("/tasks/batch", {"tasks": [export]}),
        ("/workflows/", {"name": "w", "tasks": [{**export, "ref": "a"}, {**profile, "ref": "b", "kwargs": of_export}]}),
        ("/schedules/", {"name": "s", "cron": "0 0 1 1 *", "paused": True, "task": scheduled}),
    ]
    try:
        for path, body in calls:
            answer = target.ask("POST", path, writer, json=body)
            if answer.status_code == 422 and answer.json()["code"] == "unknown_task":  # its packages are not installed
                continue
            if answer.status_code == 201 and path == "/schedules/":
                target.as_mallory("DELETE", f"/schedules/{answer.json()['id']}")
            expect_status(answer, 403, f"a key that only writes: POST {path} with {body.get('celery_task_name', path)}")
    finally:
        target.as_mallory("DELETE", f"/files/{file_id}")


@check(PROPERTIES)
def kept_secret_of_a_changed_task(target: Target) -> None:
    """An API key cannot send a secret, kept as ***, to another address"""
    headers = {"X-Api-Key": "kept-" + target.mallory.username}
    fetch: dict[str, Any] = {
        "celery_task_name": FETCH,
        "args": [],
        "kwargs": {"url": "https://example.com/a", "headers": headers},
    }
    created = target.new_task(**fetch)
    if created.status_code == 403:  # OUTBOUND_USERS leaves Mallory out
        return
    path = f"/tasks/{expect_status(created, 201, 'creating a task').json()['id']}"
    writer = _new_key(target, target.mallory.token, "tasks:write")["key"]
    elsewhere = {"kwargs": {"url": "https://example.net/b", "headers": {"X-Api-Key": "***"}}}
    expect_status(target.ask("PATCH", path, writer, json=elsewhere), 422, "PATCH with another url")
    expect_status(target.as_mallory("POST", f"{path}/cancel"), 200, "cancelling it")
    expect_status(target.ask("POST", f"{path}/retry", writer, json=elsewhere), 422, "a retry with another url")


@check(FUNCTIONS)
def key_manages_nothing(target: Target) -> None:
    """An API key makes no keys, ends no logins and changes no password"""
    key = _new_key(target, target.mallory.token, "tasks:read", "tasks:write")["key"]
    password = {"current_password": target.mallory.password, "new_password": target.mallory.password}
    for method, path, options in (
        ("POST", KEYS, {"json": {"name": "a key's key", "scopes": ["tasks:read"]}}),
        ("GET", KEYS, {}),
        ("DELETE", SESSIONS, {}),
        ("PUT", "/users/me/password", {"json": password}),
        ("PATCH", "/users/me", {"json": {"email": "stolen-" + target.mallory.email}}),
    ):
        expect_status(target.ask(method, path, key, **options), 403, f"{method} {path} with a key")


@check(FUNCTIONS)
def key_of_a_user_is_no_admins(target: Target) -> None:
    """A user makes no key with more rights than the user has"""
    body = {"name": "more", "scopes": ["admin"]}
    answer = target.as_mallory("POST", KEYS, json=body)
    if answer.status_code == 201:
        users = target.ask("GET", "/users/", answer.json()["key"])
        expect_status(users, 403, "the key lists all users")
    expect_status(answer, {403, 422}, "a user makes a key with the scope admin")


@check(AUTHENTICATION)
def revoked_key(target: Target) -> None:
    """A revoked API key is worthless at once"""
    made = _new_key(target, target.mallory.token, "tasks:read")
    revoked = target.as_mallory("DELETE", f"{KEYS}/{made['id']}")
    expect_status(revoked, 204, "revoking it")
    expect_status(target.ask("GET", "/tasks/", made["key"]), 401, "a revoked key")


@check(AUTHENTICATION)
def mangled_key(target: Target) -> None:
    """A changed or cut API key is answered 401"""
    key = _new_key(target, target.mallory.token, "tasks:read")["key"]
    other = "A" if key[-1] != "A" else "B"
    for changed in (key[:-1], key[:-1] + other, key + "A", key.upper(), key.split("_")[0] + "_", key[: len(key) // 2]):
        expect_status(target.ask("GET", "/tasks/", changed), 401, f"a key of {len(changed)} characters")


@check(PROPERTIES)
def key_is_shown_once(target: Target) -> None:
    """An API key is shown when it is made, and never again"""
    made = _new_key(target, target.mallory.token, "tasks:read")
    for path in (KEYS, f"{KEYS}/{made['id']}"):
        text = target.as_mallory("GET", path).text
        expect(made["key"] not in text, f"GET {path} shows the key")


@check(OBJECTS)
def foreign_key_or_login(target: Target) -> None:
    """Another user's API key or login answers exactly as an unknown one does, and stays"""
    made = _new_key(target, target.alice.token, "tasks:read")
    logins = target.as_alice("GET", SESSIONS).json()
    current = next(each["id"] for each in logins if each["current"])
    for method, collection, foreign in (
        ("GET", KEYS, made["id"]),
        ("DELETE", KEYS, made["id"]),
        ("DELETE", SESSIONS, current),
    ):
        expect_unknown(target, method, f"{collection}/{{}}", foreign)
    expect_status(target.ask("GET", "/tasks/", made["key"]), 200, "the key afterwards")
    expect_status(target.as_alice("GET", "/users/me"), 200, "the login afterwards")
