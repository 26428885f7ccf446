"""The web pages at `/ui/`: the cookie of a sign-in, what other sites can have them do, and what they show to whom."""

from collections.abc import Callable, Mapping
from functools import wraps
from http.cookies import Morsel, SimpleCookie
from urllib.parse import quote

import httpx

from tests.security.browser import EVIL
from tests.security.injection import MARKUP
from tests.security.objects import UNKNOWN
from tests.security.registry import (
    AUTHENTICATION,
    FORGERY,
    FUNCTIONS,
    INJECTION,
    MISCONFIGURATION,
    OBJECTS,
    check,
    expect,
    expect_status,
)
from tests.security.target import Account, Target

LONG_RUNNING = "app.tasks.common_tasks.long_running_task"
SAME = {"Sec-Fetch-Site": "same-origin"}  # what a browser sends with a form of the pages themselves
ELSEWHERE = ("//evil.example", "/\\evil.example", "/\t/evil.example", EVIL, "evil.example", "javascript:alert(1)")


def of_pages(probe: Callable[[Target], None]) -> Callable[[Target], None]:
    """Let the check pass where the pages are turned off (`WEB_UI=false`): there is nothing to probe."""

    @wraps(probe)
    def run(target: Target) -> None:
        if target.ask("GET", "//ui/sign-in").status_code != 404:
            probe(target)

    return run


@check(AUTHENTICATION)
@of_pages
def page_cookie(target: Target) -> None:
    """The cookie of the pages is HttpOnly, SameSite, of one host; Secure unless on plain http at a loopback address"""
    # The last two are what a proxy that ends TLS asks, and a reader from another host: to refuse them is right as well.
    for headers in ({}, {"X-Forwarded-Proto": "https"}, {"Host": "tasks.example"}):
        cookies = _cookies(_sign_in(target, target.alice, SAME | headers))
        expect(cookies or headers, "the sign-in sets no cookie")
        for cookie in cookies:
            hidden = cookie["httponly"] and cookie["samesite"].lower() in {"lax", "strict"}
            own = cookie["path"] == "/" and not cookie["domain"]
            secure = cookie["secure"] and cookie.key.startswith("__Host-")
            flags = {name: value for name, value in cookie.items() if value}
            expect(hidden and own and (secure or not headers), f"{headers or 'here'}: {cookie.key} with {flags}")


@check(MISCONFIGURATION)
@of_pages
def numbers_in_forms(target: Target) -> None:
    """A number of 420 digits in a form is no error of the server"""
    task_id = expect_status(target.new_task(), 201, "creating a task").json()["id"]
    expect_status(target.as_mallory("POST", f"/tasks/{task_id}/cancel"), 200, "cancelling it")
    headers = {**SAME, "Cookie": signed_in_to_pages(target, target.mallory)}
    form = {"celery_task_name": LONG_RUNNING, "name": "security test", "task_type": "t", "kwargs.duration": "1"}
    for path in (f"/tasks/{task_id}/change", "/new", "/schedules/new"):
        for field in ("kwargs.duration", "timeout_seconds", "max_attempts"):
            for number in ("9" * 420, "-" + "9" * 420, "1e999"):
                answer = target.ask("POST", f"//ui{path}", headers=headers, data={**form, field: number})
                expect(answer.status_code < 500, f"POST {path} with {number[:5]}… as {field}: {answer.status_code}")


@check(AUTHENTICATION)
@of_pages
def planted_page_cookie(target: Target) -> None:
    """A cookie that was there before a sign-in is not the one after it, and opens nothing of that user"""
    theirs = signed_in_to_pages(target, target.mallory)
    for planted in (theirs, f"{theirs.partition('=')[0]}=planted"):
        expect(signed_in_to_pages(target, target.alice, {**SAME, "Cookie": planted}) != planted, "the sign-in keeps it")
        shown = _get(target, "/account", planted).text
        expect(target.alice.username not in shown, "it shows the user's account")


@check(AUTHENTICATION)
@of_pages
def signed_out_page_cookie(target: Target) -> None:
    """After a sign-out the old cookie opens no page"""
    cookie = signed_in_to_pages(target, target.alice)
    expect_status(_get(target, "/tasks", cookie), 200, "a page before the sign-out")
    expect_status(post_to_page(target, "/sign-out", cookie), 303)
    answer = expect_status(_get(target, "/tasks", cookie), 303, "a page after the sign-out")
    expect(_location(answer).startswith("/ui/sign-in"), f"it leads to {_location(answer)}")


@check(AUTHENTICATION)
@of_pages
def replaced_page_login(target: Target) -> None:
    """A second sign-in in the same browser ends the login that it replaces"""
    first = signed_in_to_pages(target, target.alice)
    expect_status(_get(target, "/tasks", first), 200, "a page before the second sign-in")
    second = signed_in_to_pages(target, target.alice, {**SAME, "Cookie": first})
    expect_status(_get(target, "/tasks", second), 200, "a page of the second login")
    expect_status(_get(target, "/tasks", first), 303, "a page of the first login")


@check(OBJECTS)
@of_pages
def foreign_page(target: Target) -> None:
    """Another user's task has no page, no place in the list, and nothing is done to it: 404"""
    cookie, path = signed_in_to_pages(target, target.mallory), f"/tasks/{target.task['id']}"
    for part in ("", "/logs", "/events", "/change"):
        expect_status(_get(target, path + part, cookie), 404, f"GET …{part}")
    for deed in ("cancel", "retry", "run-now", "delete"):
        expect_status(post_to_page(target, f"{path}/{deed}", cookie), 404, f"POST …/{deed}")
    expect(target.task["id"] not in _get(target, "/tasks", cookie).text, "it is in the list")
    now = expect_status(target.as_alice("GET", path), 200, "its owner's GET")
    expect(now.json()["version"] == target.task["version"], "it has changed")


@check(FUNCTIONS)
@of_pages
def pages_of_administrators(target: Target) -> None:
    """The pages of administrators, and what is done there, answer others 403"""
    cookie = signed_in_to_pages(target, target.mallory)
    for path in ("/users", "/audit", "/workers/none"):
        expect_status(_get(target, path, cookie), 403)
    # What does no harm on a server that obeys.
    for path in (
        f"/users/{UNKNOWN}",
        "/queues/default/resume",
        "/workers/none/drain",
        "/limits",
        "/limits/none/delete",
    ):
        expect_status(post_to_page(target, path, cookie, role="user"), 403)


@check(INJECTION)
@of_pages
def markup_in_pages(target: Target) -> None:
    """Markup in a task and in a search comes out of the pages escaped"""
    cookie, name = signed_in_to_pages(target, target.mallory), f'" onfocus="alert(3)" {MARKUP}'
    created = expect_status(target.new_task(name=name, metadata={MARKUP: MARKUP}), 201, "creating the task")
    for path in (f"/tasks/{created.json()['id']}", "/tasks", f"/tasks?q={quote(name)}"):
        text = expect_status(_get(target, path, cookie), 200).text
        expect("alert(1)" in text, f"{path} does not show it")
        raw = [part for part in ("<script>alert", "<img src=x", '" onfocus="') if part in text]
        expect(not raw, f"{path} holds {raw}")


@check(FORGERY)
@of_pages
def page_cookie_at_the_api(target: Target) -> None:
    """The cookie of the pages does not authenticate the API, nor does its value as a token"""
    cookie = signed_in_to_pages(target, target.alice)
    expect_status(target.ask("GET", "/users/me", headers={"Cookie": cookie}), 401, "the cookie")
    expect_status(target.ask("GET", "/users/me", cookie.partition("=")[2]), 401, "its value as a token")


@check(FORGERY)
@of_pages
def page_changes_of_other_sites(target: Target) -> None:
    """A change that another site sends to the pages is answered 403 and not done"""
    cookie, here = signed_in_to_pages(target, target.alice), target.address.url
    task_id = expect_status(target.new_task(target.alice), 201, "creating a task").json()["id"]
    for headers in (
        {},  # no browser
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": f"http://{target.address.host}:1"},
        {"Origin": EVIL, **SAME},
        {"Origin": here, "Sec-Fetch-Site": "cross-site"},
        {"Origin": here, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        for path in (f"/tasks/{task_id}/cancel", "/sign-out"):
            answer = post_to_page(target, path, cookie, headers, confirmed="true")
            expect_status(answer, 403, f"POST {path} with {headers}")
        expect_status(_sign_in(target, target.mallory, headers), 403, f"sign-in with {headers}")
    status = target.as_alice("GET", f"/tasks/{task_id}").json()["status"]
    expect(status == "pending", f"the task is {status}")
    answer = post_to_page(target, f"/tasks/{task_id}/cancel", cookie, confirmed="true")
    done = expect_status(answer, 303, "the same from a page")
    expect(_location(done).endswith(task_id), f"the same from a page leads to {_location(done)}")


@check(FORGERY)
@of_pages
def sign_in_leads_to_pages(target: Target) -> None:
    """A sign-in leads to a page of this service, whatever its link asks for"""
    for wanted in ELSEWHERE:
        answer = expect_status(_sign_in(target, target.alice, next=wanted), 303)
        expect(_location(answer).startswith("/ui/"), f"next={wanted!r} leads to {_location(answer)!r}")


@check(MISCONFIGURATION)
@of_pages
def page_policy(target: Target) -> None:
    """No page can be framed or kept, and none runs a script but those of this service"""
    cookie = signed_in_to_pages(target, target.alice)
    for path in ("/sign-in", "/", "/tasks", "/account", f"/tasks/{target.task['id']}", f"/tasks/{UNKNOWN}"):
        headers = _get(target, path, cookie).headers
        policy = headers.get("Content-Security-Policy", "")
        allowed = dict(each.strip().partition(" ")[::2] for each in policy.split(";"))
        expect(allowed.get("frame-ancestors") == "'none'", f"{path} may be framed: {policy!r}")
        scripts = allowed.get("script-src", allowed.get("default-src"))
        expect(scripts in {"'self'", "'none'"} and "unsafe" not in policy, f"{path} may run scripts: {policy!r}")
        control = headers.get("Cache-Control", "")
        expect("no-store" in control, f"{path} may be kept: {control!r}")


def _get(target: Target, path: str, cookie: str) -> httpx.Response:
    return target.ask("GET", f"//ui{path}", headers={"Cookie": cookie})


def post_to_page(
    target: Target, path: str, cookie: str, headers: Mapping[str, str] = SAME, **form: str
) -> httpx.Response:
    return target.ask("POST", f"//ui{path}", headers={"Cookie": cookie, **headers}, data=form)


def _sign_in(target: Target, account: Account, headers: Mapping[str, str] = SAME, **form: str) -> httpx.Response:
    data = {"username": account.username, "password": account.password, **form}
    return target.ask("POST", "//ui/sign-in", headers=headers, data=data)


def signed_in_to_pages(target: Target, account: Account, headers: Mapping[str, str] = SAME) -> str:
    """The cookie of a new sign-in, as a browser sends it."""
    (cookie,) = _cookies(expect_status(_sign_in(target, account, headers), 303, "signing in"))
    return f"{cookie.key}={cookie.value}"


def _cookies(answer: httpx.Response) -> list[Morsel[str]]:
    return [cookie for line in answer.headers.get_list("set-cookie") for cookie in SimpleCookie(line).values()]


def _location(answer: httpx.Response) -> str:
    return str(answer.headers.get("Location", ""))
