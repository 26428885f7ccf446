"""API keys: what machines log in with must do no more than it says, and not for ever."""

from typing import Any

from tests.security.registry import AUTHENTICATION, FUNCTIONS, OBJECTS, PROPERTIES, check, expect
from tests.security.target import Target, task_body

KEYS = "/auth/api-keys"
SESSIONS = "/auth/sessions"
UNKNOWN = "01890000-0000-7000-8000-000000000000"
SAME_BUT_FOR = {"instance", "request_id"}


def _new_key(target: Target, token: str, *scopes: str) -> dict[str, Any]:
    answer = target.ask("POST", KEYS, token, json={"name": "security test", "scopes": [*scopes]})
    expect(answer.status_code == 201, f"making a key: {answer.status_code}")
    made = dict(answer.json())
    target.keys.append((made["id"], token))
    return made


@check(FUNCTIONS)
def key_scopes(target: Target) -> None:
    """An API key does no more than its scopes say"""
    reader = _new_key(target, target.mallory.token, "tasks:read")["key"]
    expect(target.ask("GET", "/tasks/", reader).status_code == 200, "a key that may read cannot")
    created = target.ask("POST", "/tasks/", reader, json=task_body())
    if created.status_code == 201:
        target.created.append((created.json()["id"], target.mallory.token))
    expect(created.status_code == 403, f"a key for reading creates: {created.status_code}")
    writer = _new_key(target, target.mallory.token, "tasks:write")["key"]
    answer = target.ask("GET", "/tasks/", writer)
    expect(answer.status_code == 403, f"a key for writing lists: {answer.status_code}")


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
        answer = target.ask(method, path, key, **options)
        expect(answer.status_code == 403, f"{method} {path} with a key: {answer.status_code}")


@check(FUNCTIONS)
def key_of_a_user_is_no_admins(target: Target) -> None:
    """Nobody makes a key with more rights than their own"""
    body = {"name": "more", "scopes": ["admin"]}
    answer = target.ask("POST", KEYS, target.mallory.token, json=body)
    if answer.status_code == 201:
        users = target.ask("GET", "/users/", answer.json()["key"])
        expect(users.status_code == 403, f"the key lists all users: {users.status_code}")
    expect(answer.status_code in {403, 422}, f"a user makes a key with the scope admin: {answer.status_code}")


@check(AUTHENTICATION)
def revoked_key(target: Target) -> None:
    """A revoked API key is worthless at once"""
    made = _new_key(target, target.mallory.token, "tasks:read")
    revoked = target.ask("DELETE", f"{KEYS}/{made['id']}", target.mallory.token)
    expect(revoked.status_code == 204, f"revoking it: {revoked.status_code}")
    answer = target.ask("GET", "/tasks/", made["key"])
    expect(answer.status_code == 401, f"a revoked key: {answer.status_code}")


@check(AUTHENTICATION)
def mangled_key(target: Target) -> None:
    """A changed or cut API key is answered 401"""
    key = _new_key(target, target.mallory.token, "tasks:read")["key"]
    other = "A" if key[-1] != "A" else "B"
    for changed in (key[:-1], key[:-1] + other, key + "A", key.upper(), key.split("_")[0] + "_", key[: len(key) // 2]):
        answer = target.ask("GET", "/tasks/", changed)
        expect(answer.status_code == 401, f"a key of {len(changed)} characters: {answer.status_code}")


@check(PROPERTIES)
def key_is_shown_once(target: Target) -> None:
    """An API key is shown when it is made, and never again"""
    made = _new_key(target, target.mallory.token, "tasks:read")
    for path in (KEYS, f"{KEYS}/{made['id']}"):
        text = target.ask("GET", path, target.mallory.token).text
        expect(made["key"] not in text, f"GET {path} shows the key")


@check(OBJECTS)
def foreign_key_or_login(target: Target) -> None:
    """Another user's API key or login answers exactly as an unknown one does, and stays"""
    made = _new_key(target, target.alice.token, "tasks:read")
    logins = target.ask("GET", SESSIONS, target.alice.token).json()
    current = next(each["id"] for each in logins if each["current"])
    for method, collection, foreign in (
        ("GET", KEYS, made["id"]),
        ("DELETE", KEYS, made["id"]),
        ("DELETE", SESSIONS, current),
    ):
        answers = [target.ask(method, f"{collection}/{each}", target.mallory.token) for each in (foreign, UNKNOWN)]
        codes = [answer.status_code for answer in answers]
        expect(codes == [404, 404], f"{method} {collection}: {codes}")
        mine, other = ({k: v for k, v in answer.json().items() if k not in SAME_BUT_FOR} for answer in answers)
        expect(mine == other, f"{method} {collection}: the bodies differ")
    expect(target.ask("GET", "/tasks/", made["key"]).status_code == 200, "the key has gone")
    expect(target.ask("GET", "/users/me", target.alice.token).status_code == 200, "the login has gone")
