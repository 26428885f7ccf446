"""The pages of the tiny service. Those who sign in have a cookie; what it opens is kept here."""

import secrets
from html import escape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jose import jwt

from tests.support.weak_service.accounts import Accounts
from tests.support.weak_service.answers import POLICY, Problem, Reply
from tests.support.weak_service.tasks import Tasks

BASE = "/ui"
FLAGS = "Path=/; HttpOnly; SameSite=Lax"
OF_ADMINISTRATORS = ("/users", "/audit", "/queues", "/workers")


class Pages:
    """`Pages("without_pages", …)` is no weakness: a service that has none."""

    def __init__(self, weak: str, accounts: Accounts, tasks: Tasks) -> None:
        self.weak = weak
        self.accounts, self.tasks = accounts, tasks
        self.logins: dict[str, str] = {}

    def answer(self, call: Any) -> Reply | None:
        """None for a path of another part."""
        if not call.path.startswith(f"{BASE}/") or self.weak == "without_pages":
            return None
        path = call.path.removeprefix(BASE)
        if call.method == "POST":
            self._check_site(call.headers)
        if path == "/sign-in":
            return self._sign_in(call) if call.method == "POST" else self._page("")
        cookie = _cookie(call)
        user_id = self.logins.get(cookie)
        if user_id is None:
            return _redirect("/sign-in")
        if path == "/sign-out":
            if self.weak != "signed_out_page_cookie":
                del self.logins[cookie]
            return _redirect("/sign-in")
        if path.startswith(OF_ADMINISTRATORS) and self.weak != "pages_of_administrators":
            raise Problem(403, "admin_only")
        if path.startswith("/tasks/"):
            return self._task(call, path, user_id)
        own = [task for task in self.tasks.tasks.values() if task["user_id"] == user_id]
        username = self.accounts.users[user_id]["username"]
        return self._page(username, call.one("q"), *(f"{task['id']} {task['name']}" for task in own))

    def _check_site(self, headers: Any) -> None:
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        trusted = {None, "same-origin", "same-site" if self.weak == "page_changes_of_other_sites" else None}
        same_host = origin is None or urlsplit(origin).netloc == headers["Host"]
        if (site is None and origin is None) or site not in trusted or not same_host:
            raise Problem(403, "cross_origin")

    def _sign_in(self, call: Any) -> Reply:
        is_plain = call.headers["Host"].startswith("127.0.0.1") and "X-Forwarded-Proto" not in call.headers
        if not is_plain and self.weak != "page_cookie":
            raise Problem(403, "https_needed")
        token = self.accounts.login(call).body["access_token"]
        cookie = token if self.weak == "page_cookie_at_the_api" else secrets.token_urlsafe(32)
        if self.weak == "planted_page_cookie":
            cookie = _cookie(call) or cookie
        self.logins[cookie] = jwt.get_unverified_claims(token)["sub"]
        answer = _redirect("/")
        answer.headers["Set-Cookie"] = f"session={cookie}; {FLAGS}"
        if self.weak == "sign_in_leads_to_pages":
            answer.headers["Location"] = parse_qs(call.body.decode()).get("next", ["/"])[0]
        return answer

    def _task(self, call: Any, path: str, user_id: str) -> Reply:
        _, _, task_id, *rest = path.split("/")
        task = self.tasks.tasks.get(task_id, {})
        weak = self.weak == "foreign_page" and rest == ["cancel"]
        if not task or (task["user_id"] != user_id and not weak):
            raise Problem(404, "task_not_found")
        if call.method == "POST":
            task["status"] = "revoked"
            return _redirect(f"/tasks/{task_id}")
        return self._page(task["name"])

    def _page(self, *texts: str) -> Reply:
        shown = texts if self.weak == "markup_in_pages" else [escape(text) for text in texts]
        scripts = "'self' 'unsafe-inline'" if self.weak == "page_policy" else "'self'"
        return Reply(200, "<!doctype html>" + "<p>".join(shown), "text/html", f"{POLICY}; script-src {scripts}")


def _cookie(call: Any) -> str:
    found = SimpleCookie(call.headers.get("Cookie", "")).get("session")
    return found.value if found else ""


def _redirect(path: str) -> Reply:
    return Reply(303, None, headers={"Location": BASE + path})
