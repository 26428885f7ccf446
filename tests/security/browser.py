"""What a page of another site could do with a visitor's browser."""

import json

from tests.security.registry import FORGERY, REFUSED, check, expect, expect_status
from tests.security.target import Target, task_body

EVIL = "https://evil.example"


@check(FORGERY)
def no_session_cookie(target: Target) -> None:
    """A login sets no cookie, so no browser sends credentials by itself"""
    answer = target.ask_login(target.alice.username, target.alice.password)
    expect("set-cookie" not in answer.headers, "it sets " + answer.headers.get("set-cookie", ""))


@check(FORGERY)
def token_in_a_cookie(target: Target) -> None:
    """A token in a cookie does not authenticate"""
    cookies = "; ".join(
        f"{name}={target.alice.token}" for name in ("access_token", "token", "session", "Authorization")
    )
    expect_status(target.ask("GET", "/users/me", headers={"Cookie": cookies}), 401)


@check(FORGERY)
def form_posts(target: Target) -> None:
    """What an HTML form can send creates nothing, even with a token"""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
        content = json.dumps(task_body()).encode()
        headers = {"Content-Type": kind} if kind else {}
        answer = target.as_mallory("POST", "/tasks/", content=content, headers=headers)
        expect_status(answer, REFUSED, kind or "no type")


@check(FORGERY)
def no_cross_origin_reads(target: Target) -> None:
    """Another origin may read no answer: there is no CORS by default"""
    for origin in (EVIL, "null", target.address.url + ".evil.example"):
        answer = target.as_alice("GET", "/users/me", headers={"Origin": origin})
        allowed = answer.headers.get("Access-Control-Allow-Origin")
        expect(allowed is None, f"Origin {origin}: allowed {allowed}")


@check(FORGERY)
def no_preflight(target: Target) -> None:
    """A preflight from another origin is granted nothing"""
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = target.ask("OPTIONS", "/tasks/", headers=asked)
    granted = [name for name in answer.headers if name.lower().startswith("access-control-allow")]
    expect(not granted, f"{answer.status_code} with {granted}")


@check(FORGERY)
def no_framing(target: Target) -> None:
    """No page of this site can be framed by another"""
    for path in ("//docs", "//healthz"):
        answer = target.ask("GET", path)
        policy = answer.headers.get("Content-Security-Policy", "")
        framed = "frame-ancestors 'none'" not in policy and answer.headers.get("X-Frame-Options") != "DENY"
        expect(not framed, f"GET {path[1:]} may be framed")
