"""What a script makes on a running service, and its removal. Nothing is made that `clear_up` does not ask for again.

An administrator deletes the accounts with all that is theirs. Without one they stay, and a line says so: the service
lets nobody delete the own account.

A 429 is waited for as long as its Retry-After says, where the time for clearing up suffices.
"""

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self

import httpx

from app.launcher.environment import read_env
from tests.support.loopback import Address, need
from tests.support.services import ROOT

API = "/api/v1"
ANSWER_SECONDS = 15.0
CLEAR_UP_SECONDS = 120.0
PAUSE_SECONDS = 0.2
CLEANERS = 8
PAGE = 200
# So many tasks are deleted one by one: a bulk operation takes two requests and some looks.
FEW = 50
# A bulk operation of which nothing comes for so long has nobody who does it: no worker or beat runs.
STALLED_SECONDS = 10.0
UNKNOWN = "id unknown"
NAMES = ("FIRST_ADMIN_USERNAME", "FIRST_ADMIN_PASSWORD")


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self | None:
        """The first administrator's, as the service itself is given them."""
        username, password = (values.get(name) for name in NAMES)
        return cls(username, password) if username and password else None


def known_administrators() -> list[Credentials]:
    """Who may be one here: named by the environment or `.env`, or made by `run_server.py`."""
    sources = ({**read_env(ROOT / ".env"), **os.environ}, read_env(ROOT / ".data" / "env"))
    return [found for source in sources if (found := Credentials.of(source))]


@dataclass
class Leftovers:
    """The accounts that were asked for, each noted before its request: an answer may get lost, the account not."""

    http: httpx.Client
    admin: Credentials | None = None
    admin_token: str | None = None
    accounts: dict[str, Credentials] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    borrowed: Credentials | None = None  # an account of the user's own: it stays, and so do the tasks of other names
    label: str = ""
    logins: list[str] = field(default_factory=list)  # of the borrowed account
    tasks: int = 0  # that could not be deleted
    why: str = ""  # they could not
    # The first login of each account: while its token is good, clearing up needs no login, which a check may have closed.
    tokens: dict[str, str] = field(default_factory=dict)
    deadline: float = 0.0  # of clearing up; before that, a 429 is an answer like any other
    told_until: float = 0.0  # a wait has been announced up to here
    lock: threading.Lock = field(default_factory=threading.Lock)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def at(cls, address: Address, **more: Any) -> Self:
        # It keeps no cookie: a sign-in to the pages would go along with all that is asked later.
        none = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        return cls(httpx.Client(base_url=address.url, timeout=ANSWER_SECONDS, trust_env=False, cookies=none), **more)

    # -- making ------------------------------------------------------------------------------------------------------

    def find_administrator(self, candidates: Sequence[Credentials]) -> None:
        """Whoever of them can log in and is one."""
        for each in candidates:
            answer = self._login(each)
            token = str(answer.json()["access_token"]) if answer.status_code == httpx.codes.OK else ""
            if token and self._ask("GET", "/users/me", token).json().get("role") == "admin":
                self.admin, self.admin_token = each, token
                return

    def use_administrator(self, admin: Credentials) -> None:
        """The one that the user has named. Raises CannotBegin; whether it is one, the first account tells."""
        self.admin, self.admin_token = admin, self.log_in(admin)["access_token"]

    def log_in(self, credentials: Credentials) -> dict[str, Any]:
        answer = self._login(credentials)
        need(answer.status_code, httpx.codes.OK, f"log in as {credentials.username}", answer.text)
        tokens = dict(answer.json())
        self.tokens.setdefault(credentials.username, str(tokens["access_token"]))
        return tokens

    def new_account(self, name: str) -> tuple[dict[str, Any], Credentials]:
        """The user and the password, made by the administrator or, where none is known, by registration."""
        credentials = Credentials(f"{name}-{secrets.token_hex(5)}", secrets.token_urlsafe(18))
        body = {**vars(credentials), "email": f"{credentials.username}@example.com"}
        self.note(credentials, UNKNOWN)
        path = "/users/" if self.admin else "/auth/register"
        try:
            answer = self._ask("POST", path, self.admin_token, json=body)
        except httpx.ConnectError:
            del self.accounts[credentials.username]  # never asked for
            raise
        if answer.is_client_error:
            del self.accounts[credentials.username]  # refused
        closed = "register (where registration is closed, give --username and --password of an administrator)"
        made_by_admin = "create an account as the given user, who must be an administrator"
        need(answer.status_code, httpx.codes.CREATED, made_by_admin if self.admin else closed, answer.text)
        user = dict(answer.json())
        self.note(credentials, user["id"])
        return user, credentials

    def note(self, credentials: Credentials, user_id: str) -> None:
        """An account of this name is, or may be, of this run."""
        self.accounts[credentials.username] = credentials
        self.ids[credentials.username] = user_id

    # -- clearing up -------------------------------------------------------------------------------------------------

    def clear_up(self) -> None:
        """Remove everything, or say in a line what stays. A server that is gone is such a line, no error."""
        self.deadline = self.clock() + CLEAR_UP_SECONDS
        try:
            if self.borrowed:
                with _told():
                    self._give_back(self.borrowed)
            if self.admin:
                with _told():
                    token = self._token_of(self.admin, self.admin_token)
                    self._delete_accounts(token)
                    self._ask("POST", "/auth/logout", token)
            for credentials in [*self.accounts.values()] if not self.admin else ():
                with _told():
                    self._empty_account(credentials)
        finally:
            self._tell()
            self.http.close()

    def _delete_tasks(self, token: str, **params: str) -> None:
        """Delete the tasks in this list until it is empty. A running one goes when it has ended."""
        if self._do_in_bulk("cancel", token, params):
            self._do_in_bulk("delete", token, params)
        with ThreadPoolExecutor(CLEANERS) as pool:
            while ids := self._list_tasks(token, params):
                answers = list(pool.map(lambda each: self._delete_task(each, token), ids))
                refused = [answer for answer in answers if answer.status_code not in {202, 204, 404}]
                if len(refused) == len(ids) or self._too_late():
                    self.tasks += len(ids)
                    self.why = _reason(refused[-1]) if refused else f"{CLEAR_UP_SECONDS:.0f} seconds were too short"
                    return
                if not {204, 404} & {answer.status_code for answer in answers}:
                    self.sleep(PAUSE_SECONDS)

    def _do_in_bulk(self, deed: str, token: str, params: Mapping[str, str]) -> bool:
        """Do this to all tasks in the list; what is left is deleted one by one. Returns whether it came to its end."""
        path = f"/tasks/bulk/{deed}"
        preview = self._ask("POST", path, token, json={"filter": params, "dry_run": True})
        if not preview.is_success or preview.json()["matched"] <= FEW:
            return preview.is_success
        answer = self._ask("POST", path, token, json={"token": preview.json()["token"]})
        so_far, since = answer.content, self.clock()
        while answer.is_success and answer.json().get("state", "running") == "running":
            if self._too_late() or self.clock() - since > STALLED_SECONDS:
                return False
            self.sleep(PAUSE_SECONDS)
            answer = self._ask("GET", f"/tasks/bulk/{answer.json()['id']}", token)
            if answer.content != so_far:
                so_far, since = answer.content, self.clock()
        return answer.is_success

    def _delete_accounts(self, admin: str) -> None:
        found = self._find_users(admin)
        for username in [*self.accounts]:
            if username not in found or self._delete_account(found[username], admin):
                del self.accounts[username]

    def _delete_account(self, user_id: str, admin: str) -> bool:
        while True:
            self._delete_tasks(admin, user_id=user_id)
            answer = self._ask("DELETE", f"/users/{user_id}", admin)
            if answer.status_code != httpx.codes.CONFLICT or self.tasks or self._too_late():
                return _gone(answer)
            # A request that was cut off has still made a task.

    def _find_users(self, admin: str) -> dict[str, str]:
        """Ids by the names that were noted. They are among the newest: the list ends with the first one made."""
        found: dict[str, str] = {}
        first = next(iter(self.accounts), None)
        for page in self._pages("/users/", admin, {}) if first else ():
            found |= {user["username"]: user["id"] for user in page if user["username"] in self.accounts}
            if first in found:
                break
        return found

    def _empty_account(self, credentials: Credentials) -> None:
        """Remove what the owner of an account may remove: the tasks, the API keys, the logins."""
        token = self.tokens.get(credentials.username)
        if not token or self._ask("GET", "/users/me", token).status_code != httpx.codes.OK:
            answer = self._login(credentials)
            if answer.status_code == httpx.codes.UNAUTHORIZED and self.ids[credentials.username] == UNKNOWN:
                del self.accounts[credentials.username]  # never made
                return
            token = str(answer.raise_for_status().json()["access_token"])
        self.ids[credentials.username] = self._ask("GET", "/users/me", token).json()["id"]
        self._delete_tasks(token)
        for page in self._pages("/auth/api-keys", token, {}):
            for key in page:
                _gone(self._ask("DELETE", f"/auth/api-keys/{key['id']}", token))
        _gone(self._ask("DELETE", "/auth/sessions", token))
        _gone(self._ask("POST", "/auth/logout", token))

    def _give_back(self, account: Credentials) -> None:
        """Remove what was made in an account of the user's own."""
        token = self._token_of(account, None)
        self._delete_tasks(token, name=self.label)
        with ThreadPoolExecutor(CLEANERS) as pool:
            list(pool.map(lambda each: self._ask("POST", "/auth/logout", each), [*self.logins, token]))

    def _tell(self) -> None:
        if self.tasks:
            _say(f"left behind: {self.tasks} tasks that could not be deleted: {self.why}")
        if self.accounts:
            named = ", ".join(f"{username} ({self.ids[username]})" for username in self.accounts)
            itself = " The script does it itself with FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD in .env"
            _say(
                f"left behind: the accounts {named}, whose passwords nobody has. An administrator removes each with "
                f"DELETE {API}/users/ID.{'' if self.admin else itself}"
            )

    # -- requests ----------------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, token: str | None, **options: Any) -> httpx.Response:
        return self._request(method, API + path, token, **options)

    def _request(self, method: str, url: str, token: str | None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while True:
            answer = self.http.request(method, url, headers=headers, **options)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or not self._await_turn(answer):
                return answer

    def _await_turn(self, refusal: httpx.Response) -> bool:
        """Sleep as long as the refusal asks for, and return true; false at once where the deadline comes first."""
        seconds = int(value) if (value := refusal.headers.get("Retry-After", "")).isdecimal() else None
        now = self.clock()
        if seconds is None or now + seconds > self.deadline:
            return False
        with self.lock:  # one line for all cleaners
            if now >= self.told_until:
                self.told_until = now + seconds
                _say(f"clearing up waits {seconds} seconds: {_reason(refusal)}")
        self.sleep(max(float(seconds), PAUSE_SECONDS))
        return True

    def _too_late(self) -> bool:
        return self.clock() > self.deadline

    def _login(self, credentials: Credentials) -> httpx.Response:
        return self._ask("POST", "/auth/login", None, data=vars(credentials))

    def _token_of(self, account: Credentials, token: str | None) -> str:
        """This one while it is good, else a new one: a measurement may outlast it."""
        if token and self._ask("GET", "/users/me", token).status_code == httpx.codes.OK:
            return token
        return str(self._login(account).raise_for_status().json()["access_token"])

    def _list_tasks(self, token: str, params: Mapping[str, str]) -> list[str]:
        return [task["id"] for page in self._pages("/tasks/", token, params) for task in page]

    def _delete_task(self, task_id: str, token: str) -> httpx.Response:
        return self._ask("DELETE", f"/tasks/{task_id}", token, params={"force": "true"})

    def _pages(self, path: str, token: str, params: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        answer = self._ask("GET", path, token, params={**params, "limit": PAGE})
        while True:
            answer.raise_for_status()
            yield answer.json()
            if "next" not in answer.links:
                return
            answer = self._request("GET", answer.links["next"]["url"], token)


def _reason(refusal: httpx.Response) -> str:
    """The status, the request and the problem's code, and for how long the server wants no other try."""
    try:
        code = str(refusal.json()["code"])
    except (ValueError, LookupError, TypeError):  # no problem document
        code = "no code"
    after = refusal.headers.get("Retry-After")
    asked = f"{refusal.request.method} {refusal.request.url.path}"
    return f"{asked} answers {refusal.status_code} {code}{f', try again in {after} seconds' if after else ''}"


def _gone(answer: httpx.Response) -> bool:
    """Whether what this answer is about is removed; says why not."""
    if answer.is_error:
        _say(f"not removed: {_reason(answer)}")
    return answer.is_success


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, ValueError, LookupError) as error:  # no answer, or one of another shape
        _say(f"clearing up ended early: {type(error).__name__}: {error}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
