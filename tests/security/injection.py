"""Text that tries to be code: SQL, markup, headers, terminals."""

import time

from tests.security.registry import HANDLED, INJECTION, REFUSED, check, expect, expect_status
from tests.security.target import Target
from tests.support.leftovers import API

SQL = (
    "' OR '1'='1",
    "1; DROP TABLE users--",
    "' UNION SELECT password_hash FROM users--",
    "%' OR 1=1--",
    "\\",
    "$$",
    "'\"`;",
)
MAIL = "app.tasks.high_priority_tasks.send_email"
SLEEP = "' || pg_sleep(4) || '"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
FILTERS = (
    "status",
    "task_type",
    "celery_task_name",
    "priority",
    "queue",
    "tag",
    "name",
    "cursor",
    "user_id",
    "created_after",
    "skip",
)


@check(INJECTION)
def sql_in_filters(target: Target) -> None:
    """SQL in filters and cursors is text: no error of the server, no rows of another user"""
    for name in FILTERS:
        for text in SQL:
            for path in ("/tasks/", "/tasks/count"):
                answer = target.as_mallory("GET", path, params={name: text})
                expect_status(answer, HANDLED, f"GET {path}?{name}={text}")
                expect(target.task["id"] not in answer.text, f"GET {path}?{name}={text} shows another user's task")


@check(INJECTION)
def sql_that_waits(target: Target) -> None:
    """SQL that would sleep does not delay the answer"""
    for name in ("name", "task_type", "cursor", "tag"):
        begun = time.monotonic()
        target.as_mallory("GET", "/tasks/", params={name: SLEEP})
        seconds = time.monotonic() - begun
        expect(seconds < 3, f"?{name}=: {seconds:.1f} s")  # fmt: skip


@check(INJECTION)
def sql_in_ids(target: Target) -> None:
    """SQL in a path is an unknown id"""
    for text in SQL:
        expect_status(target.as_mallory("GET", f"/tasks/{target.task['id']}{text}"), REFUSED, text)


@check(INJECTION)
def sql_in_login(target: Target) -> None:
    """SQL in a login opens no session"""
    for name in ("' OR '1'='1' --", "admin'--", f"{target.alice.username}'--"):
        answer = target.ask_login(name, "' OR '1'='1")
        expect_status(answer, {401, 422, 429}, f"{name}")


@check(INJECTION)
def wildcards_in_names(target: Target) -> None:
    """% and _ in a name filter are characters, not wildcards"""
    target.new_task(name="plain name")
    for text in ("%", "pl_in", "p%n"):
        answer = target.as_mallory("GET", "/tasks/", params={"name": text})
        seen = f"name={text}: {answer.status_code} {answer.text[:80]}"
        expect(answer.status_code == 200 and answer.json() == [], seen)


@check(INJECTION)
def nul_characters(target: Target) -> None:
    """NUL characters, which PostgreSQL's text cannot hold, cause no error of the server"""
    for field in (
        {"name": "a\0b"},
        {"tags": ["a\0"]},
        {"metadata": {"a\0": "\0"}},
        {"kwargs": {"param": "\0"}},
        {"task_type": "\0"},
    ):
        expect_status(target.new_task(**field), HANDLED, f"{field}")
    for path in ("/tasks/?name=%00", "/tasks/%00", "/tasks/?cursor=%00"):
        expect_status(target.as_mallory("GET", path), HANDLED)
    expect_status(target.ask_login("a\0b", "c\0d"), HANDLED, "login")


@check(INJECTION)
def header_splitting(target: Target) -> None:
    """CR and LF in a URL or a header become no header of the answer"""
    host = f"Host: {target.address.host}\r\nConnection: close\r\n"
    token = f"Authorization: Bearer {target.mallory.token}\r\n"
    splits = "%0d%0aX-Injected:%20yes"
    requests = [
        f"GET {API}/tasks/?limit=1&name={splits} HTTP/1.1\r\n{host}{token}\r\n",
        f"GET {API}/tasks/{splits} HTTP/1.1\r\n{host}{token}\r\n",
        f"GET /{splits} HTTP/1.1\r\n{host}\r\n",
        f"GET {API}/users/me HTTP/1.1\r\n{host}{token}X-Request-ID: a{splits}\r\n\r\n",
        f"GET {API}/users/me HTTP/1.1\r\n{host}{token}X-Request-ID: a\rX-Injected: yes\r\n\r\n",
    ]
    for request in requests:
        head = target.raw(request.encode()).partition(b"\r\n\r\n")[0].lower()
        injected = [line for line in head.replace(b"\r", b"\n").split(b"\n") if line.startswith(b"x-injected:")]
        expect(not injected, f"injected by {request.splitlines()[0][:70]}")


@check(INJECTION)
def line_breaks_in_a_mail(target: Target) -> None:
    """Line breaks in the headers of a mail are refused when the mail is submitted"""
    mail = {"to": "security@example.com", "subject": "s", "body": "b"}
    for field in ("subject", "reply_to"):
        kwargs = {**mail, field: "a@example.com\r\nBcc: b@example.com"}
        answer = target.new_task(celery_task_name=MAIL, args=[], kwargs=kwargs)
        expect_status(answer, {403, 422}, f"a line break in {field}")  # 403: MAIL_USERS leaves Mallory out


@check(INJECTION)
def stored_markup(target: Target) -> None:
    """Stored markup comes back as JSON that no browser takes for a page"""
    created = target.new_task(name=MARKUP, metadata={MARKUP: MARKUP})
    expect_status(created, {201, 422}, "creating it")
    path = f"/tasks/{created.json()['id']}" if created.status_code == 201 else "/tasks/"
    for each in (path, "/tasks/"):
        answer = target.as_mallory("GET", each, headers={"Accept": "text/html"})
        kind = answer.headers.get("Content-Type", "")
        expect(kind.startswith("application/json"), f"GET {each}: Content-Type {kind!r}")
        expect(answer.headers.get("X-Content-Type-Options") == "nosniff", f"GET {each}: no nosniff")


@check(INJECTION)
def reflected_markup(target: Target) -> None:
    """Errors repeat no markup as HTML"""
    for path in (f"//{MARKUP}", f"/tasks/{MARKUP}", f"/tasks/?status={MARKUP}", f"//docs/{MARKUP}"):
        answer = target.as_mallory("GET", path, headers={"Accept": "text/html"})
        is_html = "html" in answer.headers.get("Content-Type", "")
        expect(not (is_html and "<script>alert(1)" in answer.text), f"GET {path[:30]}: the page holds the script")
        sniffable = answer.headers.get("X-Content-Type-Options") != "nosniff" and "<script>alert(1)" in answer.text
        expect(not sniffable, f"GET {path[:30]}: repeated without nosniff")


@check(INJECTION)
def path_traversal(target: Target) -> None:
    """No path leads out of what is served"""
    host = f"Host: {target.address.host}\r\nConnection: close\r\n\r\n"
    for prefix in ("/", "/docs/", "/static/"):
        for climb in (
            "../../../../../../etc/passwd",
            "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        ):
            answer = target.raw(f"GET {prefix}{climb} HTTP/1.1\r\n{host}".encode())
            expect(b"root:" not in answer, f"GET {prefix}{climb} shows a file")
