"""What answers say about the server: as little as possible, always in the same form."""

import re

import httpx

from tests.security.registry import MISCONFIGURATION, check, expect, expect_status
from tests.security.target import Target
from tests.support.leftovers import API

MEMBERS = ("type", "title", "status", "detail", "instance", "code", "request_id")
TELLTALES = ("Traceback", 'File "', "sqlalchemy", "psycopg", "site-packages", "SELECT ", ", line 1")
BANNERS = ("Server", "X-Powered-By", "Via")
REJECTED = "very-secret-value-that-must-not-be-echoed"


def _errors(target: Target) -> list[httpx.Response]:
    token = target.mallory.token
    return [
        target.ask("GET", "/users/me"),
        target.ask("GET", "/users/", token),
        target.ask("GET", "/tasks/01890000-0000-7000-8000-000000000000", token),
        target.ask("GET", "/no/such/path", token),
        target.ask("PUT", "/tasks/", token),
        target.ask("POST", "/tasks/", token, json={"name": 1}),
        target.ask("POST", "/tasks/", token, content=b"{not json", headers={"Content-Type": "application/json"}),
        target.ask("GET", "/tasks/?cursor=nonsense", token),
    ]


@check(MISCONFIGURATION)
def problem_documents(target: Target) -> None:
    """Every error is a problem document with a code and a request id"""
    for answer in _errors(target):
        where = f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
        expect(400 <= answer.status_code < 500, where)
        kind = answer.headers.get("Content-Type", "")
        expect(kind.startswith("application/problem+json"), f"{where} as {kind!r}")
        missing = [name for name in MEMBERS if name not in answer.json()]
        expect(not missing, f"{where} without {missing}")


@check(MISCONFIGURATION)
def no_tracebacks(target: Target) -> None:
    """No error shows a traceback, a path or a statement"""
    for answer in _errors(target):
        shown = [word for word in TELLTALES if word in answer.text]
        expect(not shown, f"{answer.request.method} {answer.request.url.path} shows {shown}")


@check(MISCONFIGURATION)
def no_echo(target: Target) -> None:
    """A rejected value is not repeated"""
    answers = [
        target.ask(
            "POST", "/auth/register", json={"username": [REJECTED], "email": REJECTED, "password": {"x": REJECTED}}
        ),
        target.as_mallory("POST", "/tasks/", json={"name": {"secret": REJECTED}, "args": REJECTED}),
        target.as_mallory("GET", "/tasks/", params={"status": REJECTED, "limit": REJECTED}),
        target.ask("GET", "/users/me", REJECTED),
    ]
    for answer in answers:
        expect(REJECTED not in answer.text, f"{answer.request.method} {answer.request.url.path} repeats it")


@check(MISCONFIGURATION)
def security_headers(target: Target) -> None:
    """Every answer forbids sniffing and, by policy, scripts"""
    for answer in (target.ask("GET", "//healthz"), target.as_alice("GET", "/users/me"), *_errors(target)):
        where = f"{answer.request.method} {answer.request.url.path}"
        expect(answer.headers.get("X-Content-Type-Options") == "nosniff", f"{where}: no nosniff")
        policy = answer.headers.get("Content-Security-Policy", "")
        expect("default-src 'none'" in policy, f"{where}: policy {policy!r}")


@check(MISCONFIGURATION)
def docs_policy(target: Target) -> None:
    """The documentation page runs no inline script and loads nothing from elsewhere"""
    answer = target.ask("GET", "//docs")
    if answer.status_code == 404:
        return  # closed: better still
    policy = answer.headers.get("Content-Security-Policy", "")
    scripts = policy.partition("script-src")[2].partition(";")[0]
    expect("'unsafe-inline'" not in scripts and "'unsafe-eval'" not in scripts and policy, f"policy {policy!r}")
    expect("https://" not in answer.text and "http://" not in answer.text, "the page names another server")


@check(MISCONFIGURATION)
def no_store(target: Target) -> None:
    """Answers with tokens or persons are not to be stored"""
    answers = (target.ask_login(target.alice.username, target.alice.password), target.as_alice("GET", "/users/me"))
    for answer in answers:
        control = answer.headers.get("Cache-Control", "")
        expect("no-store" in control, f"{answer.request.url.path}: Cache-Control {control!r}")


@check(MISCONFIGURATION)
def no_banner(target: Target) -> None:
    """No answer tells a version of the software that serves it"""
    # `Server: uvicorn`, which uvicorn adds behind the application unless it is told not to, gives away no more than the
    # way in which it answers does. A version tells which known holes to try (RFC 9110, 10.2.4).
    for answer in (target.ask("GET", "//healthz"), target.ask("GET", "//no-such-page")):
        told = {name: answer.headers[name] for name in BANNERS if name in answer.headers}
        shown = {name: text for name, text in told.items() if name != "Server" or re.search(r"[\d/(]", text)}
        expect(not shown, f"{answer.request.url.path}: {shown}")


@check(MISCONFIGURATION)
def malformed_hosts(target: Target) -> None:
    """A Host header that is no host is refused"""
    for host in ("evil.example/path", "user@evil.example", "<script>", "a b", "evil.example:port", "\\evil"):
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        status = target.raw(request.encode()).split(b"\r\n", 1)[0]
        expect(b" 400 " in status, f"Host: {host} is answered {status.decode('latin-1')!r}")


@check(MISCONFIGURATION)
def no_trace(target: Target) -> None:
    """TRACE and unknown methods are refused"""
    for method in ("TRACE", "TRACK", "CONNECT", "DEBUG"):
        request = f"{method} {API}/users/me HTTP/1.1\r\nHost: {target.address.host}\r\nX-Probe: marker\r\nConnection: close\r\n\r\n"
        answer = target.raw(request.encode())
        expect(b" 200 " not in answer.split(b"\r\n", 1)[0] and b"X-Probe: marker" not in answer, f"{method}: answered")


@check(MISCONFIGURATION)
def no_debug_pages(target: Target) -> None:
    """No debugger, environment or repository is served"""
    for path in (
        "/.env",
        "/.git/config",
        "/debug",
        "/console",
        "/server-status",
        "/config",
        "/data/env",
        "/__debug__/",
    ):
        expect_status(target.ask("GET", f"/{path}"), {401, 403, 404}, f"GET {path}")


@check(MISCONFIGURATION)
def garbage(target: Target) -> None:
    """Bytes that are no HTTP are refused, and the server goes on"""
    for data in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 2000,
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ):
        answer = target.raw(data)
        expect(b" 500 " not in answer.split(b"\r\n", 1)[0], f"{data[:12]!r}: 500")
    expect_status(target.ask("GET", "//healthz"), 200, "afterwards")
