"""What one client can make the server do: bounded work for everything. What is throttled comes last of all."""

import json
import time
from collections.abc import Mapping
from itertools import count

from tests.security.registry import HANDLED, REFUSED, RESOURCES, check, expect, expect_status
from tests.security.target import Target, task_body

JSON = {"Content-Type": "application/json"}
# A server that takes the address from X-Forwarded-For, as uvicorn does from its own machine, counts the account after 100.
MAX_GUESSES = 110
MAX_CHANGES = 120
LONG_HEADER = 30_000
MOST_TIMES = 20
LARGE = 12_000_000
SHORT_ANSWER = 20_000


def _clean(target: Target, what: str, content: bytes, method: str = "POST", path: str = "/tasks/") -> None:
    expect_status(target.as_mallory(method, path, content=content, headers=JSON), REFUSED, what)


@check(RESOURCES)
def page_size(target: Target) -> None:
    """A page has an upper bound"""
    for limit in (0, -1, 201, 100_000, 10**30):
        expect_status(target.as_mallory("GET", "/tasks/", params={"limit": limit}), 422, f"limit={limit}")
    expect_status(target.as_mallory("GET", "/tasks/", params={"skip": 10**9}), 422, "skip=10**9")


@check(RESOURCES)
def deep_bodies(target: Target) -> None:
    """Deeply nested JSON is refused"""
    for depth in (1000, 100_000):
        _clean(target, f"depth {depth}", b'{"name":"x","metadata":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}")
        _clean(target, f"a list of depth {depth}", b"[" * depth + b"]" * depth)


@check(RESOURCES)
def large_bodies(target: Target) -> None:
    """A body of 12 MB is refused"""
    _clean(target, "12 MB", _task_with({"x": "x" * LARGE}))


@check(RESOURCES)
def large_bodies_in_chunks(target: Target) -> None:
    """A body of 12 MB that does not tell its size is refused"""
    body = _task_with({"x": "x" * LARGE})
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    expect_status(target.as_mallory("POST", "/tasks/", content=chunks, headers=JSON), REFUSED)


@check(RESOURCES)
def large_registrations(target: Target) -> None:
    """A registration of 200 KB is refused unread: nobody needs a token for it"""
    body = {"username": "x", "email": "x@example.com", "password": "x" * 200_000}
    expect_status(target.ask("POST", "/auth/register", json=body), 413)


@check(RESOURCES)
def many_unknown_fields(target: Target) -> None:
    """A body with a thousand unknown fields is refused in a few words"""
    answer = target.ask("POST", "/auth/register", json={f"x{number}": 1 for number in range(1000)})
    expect_status(answer, REFUSED)
    expect(len(answer.content) < SHORT_ANSWER, f"an answer of {len(answer.content)} bytes")


@check(RESOURCES)
def large_bodies_without_a_token(target: Target) -> None:
    """Without a valid token a large body is not looked at: 401"""
    content = b"{" * 1_000_000
    for token in (None, "x.y.z", "tsk_x"):
        expect_status(target.ask("POST", "/tasks/", token, content=content, headers=JSON), 401, f"token {token}")


@check(RESOURCES)
def large_arguments(target: Target) -> None:
    """Arguments of a megabyte are refused: they are kept, and shown in every list"""
    expect_status(target.new_task(kwargs={"x": "x" * 1_000_000}), {413, 422})


@check(RESOURCES)
def header_floods(target: Target) -> None:
    """Floods of headers are refused, and the server goes on"""
    start = f"GET /healthz HTTP/1.1\r\nHost: {target.address.host}\r\nConnection: close\r\n"
    for what, flood in (
        ("many headers", "".join(f"X-{number}: {'x' * 100}\r\n" for number in range(2000))),
        ("one long header", f"X-Long: {'x' * 200_000}\r\n"),
    ):
        status = target.raw(f"{start}{flood}\r\n".encode()).split(b"\r\n", 1)[0]
        refused = not status or b" 431 " in status or b" 400 " in status  # or hung up on
        expect(refused, f"{what}: {status.decode('latin-1')!r}")
    expect_status(target.ask("GET", "//healthz"), 200, "afterwards")


@check(RESOURCES)
def long_content_types(target: Target) -> None:
    """A Content-Type of 30 KB is refused: parsers of it take time with the square of its length"""
    for begun in ("multipart/form-data; boundary=x", "multipart/form-data; charset=utf-8", "text/plain"):
        for method, path in (("GET", "//healthz"), ("POST", "/files/"), ("POST", "/auth/login")):
            answer = target.ask(method, path, headers={"Content-Type": begun + ";" * LONG_HEADER})
            expect_status(answer, {400, 415, 431}, f"{method} {path} with {begun};;;…")


@check(RESOURCES)
def long_ranges(target: Target) -> None:
    """A Range of 30 KB takes no longer than another header of that length"""
    uploaded = target.as_mallory("POST", "/files/", files={"file": ("a.txt", b"a" * 100, "text/plain")})
    path = f"/files/{expect_status(uploaded, 201, 'an upload').json()['id']}/content"
    value = "bytes=" + " " * LONG_HEADER + "x"

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        expect_status(target.as_mallory("GET", path, headers={name: value}), HANDLED, name)
        return time.perf_counter() - begun

    control, measured = (min(seconds(name) for _ in range(3)) for name in ("X-Nothing", "Range"))
    expect(measured < control * MOST_TIMES + 0.1, f"{measured:.3f} s, and {control:.3f} s with another header")


@check(RESOURCES)
def large_requests_of_mcp(target: Target) -> None:
    """Where /mcp is on, a large request that is no call of a task's tool is refused"""
    key = expect_status(
        target.as_mallory("POST", "/auth/api-keys", json={"name": "security test", "scopes": ["tasks:read"]}),
        201,
        "a key",
    ).json()["key"]
    values: dict[str, object] = {"x": [{}] * 20_000}
    for method, params in (
        ("initialize", {"protocolVersion": "2025-06-18", "capabilities": {"experimental": values},
                        "clientInfo": {"name": "x", "version": "1"}}),
        ("ping", {"_meta": values}),
        ("tools/list", {"_meta": values}),
        ("tools/call", {"name": "get_task", "arguments": values}),
    ):  # fmt: skip
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = target.ask("POST", "//mcp", key, json=body, headers={"Accept": "application/json, text/event-stream"})
        if answer.status_code == 404:
            return  # closed: better still
        expect_status(answer, {400, 413, 422}, method)


@check(RESOURCES)
def odd_bodies(target: Target) -> None:
    """Bodies that are hardly JSON are refused"""
    start = b'{"name":"x","task_type":"x","celery_task_name":"app.tasks.common_tasks.long_running_task","args":[1],"metadata":'
    bodies = {
        "bad UTF-8": b'{"name":"\xff\xfe"}', "NaN": start + b'{"x":NaN}}', "1e400": start + b'{"x":1e400}}',
        "nothing": b"", "null": b"null", "a number": b"1", "a huge number": b"9" * 5000, "half": b'{"name":',
        "UTF-16": '{"name":"x"}'.encode("utf-16"),
    }  # fmt: skip
    for what, content in bodies.items():
        _clean(target, what, content)


@check(RESOURCES)
def stored_oddities(target: Target) -> None:
    """Whatever is accepted can be listed again"""
    for metadata in (
        {"x": 1e308},
        {"x": 10**300},
        {"\ud800": "\udfff"},
        {"x": "\u202e\u2028"},
        {"a" * 1000: "b" * 1000},
    ):
        target.as_mallory("POST", "/tasks/", content=_task_with(metadata), headers=JSON)
        expect_status(target.as_mallory("GET", "/tasks/"), 200, f"the list after metadata {str(metadata)[:40]!a}")


@check(RESOURCES)
def throttled_logins(target: Target) -> None:
    """Guessing a password is slowed down with 429 and Retry-After, also under a forged X-Forwarded-For"""
    name = "guessed-" + target.mallory.username
    for number in count():
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        answer = target.ask_login(name, f"guess-{number}", headers=headers)
        if answer.status_code == 429:
            break
        expect_status(answer, 401, f"guess {number + 1}")
        expect(number < MAX_GUESSES, f"{number + 1} guesses and no 429")
    expect(answer.headers.get("Retry-After", "").isdigit(), "429 without Retry-After")
    me = target.as_mallory("GET", "/users/me")
    expect_status(me, 200, "an open session is locked out")


@check(RESOURCES)
def guesses_and_the_users_password(target: Target) -> None:
    """Guesses at a user's login do not keep the user from changing the password"""
    for number in count():
        answer = target.ask_login(target.mallory.username, f"guess-{number}")
        if answer.status_code == 429:
            break
        expect(number < MAX_GUESSES, f"{number + 1} guesses and no 429")
    body = {"current_password": "not-the-password-1", "new_password": target.mallory.password}
    answer = target.as_mallory("PUT", "/users/me/password", json=body)
    expect(answer.status_code != 429, "the change of the password answers 429 while others guess at the login")


@check(RESOURCES)
def probed_addresses(target: Target) -> None:
    """Changes of the own e-mail address, which tell whether it is taken, end in 429"""
    email = target.as_mallory("GET", "/users/me").json()["email"]
    for number in count():
        answer = target.as_mallory("PATCH", "/users/me", json={"email": email})
        if answer.status_code == 429:
            break
        expect_status(answer, 200, f"change {number + 1}")
        expect(number < MAX_CHANGES, f"{number + 1} changes and no 429")
    expect(answer.headers.get("Retry-After", "").isdigit(), "429 without Retry-After")


def _task_with(metadata: Mapping[str, object]) -> bytes:
    return json.dumps({**task_body(), "metadata": metadata}).encode()
