"""The server that is probed: two accounts on it, a task of one of them, and ways to ask."""

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.leftovers import API, Credentials, Leftovers, known_administrators
from tests.support.loopback import Address, need

SECONDS = 15.0


@dataclass(frozen=True)
class Account:
    id: str
    username: str
    email: str
    password: str
    token: str
    refresh_token: str


@dataclass
class Target:
    """Alice owns `task`; Mallory wants it. What a check makes beside, on a server that is weak, is noted as well."""

    address: Address
    http: httpx.Client
    alice: Account
    mallory: Account
    leftovers: Leftovers
    task: dict[str, Any] = field(default_factory=dict)
    created: list[tuple[str, str]] = field(default_factory=list)  # tasks: their ids, and their owners' ids

    def ask(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """One request to a path below the API (or to any path that begins with `//`), with a bearer token or without."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        url = path[1:] if path.startswith("//") else API + path
        answer = self.http.request(method, url, headers=headers, **options)
        if (method, answer.status_code) == ("POST", httpx.codes.CREATED):
            self._note(path, options, answer)
        return answer

    def _note(self, path: str, options: dict[str, Any], answer: httpx.Response) -> None:
        if path == "/tasks/":
            self.created.append((answer.json()["id"], answer.json()["user_id"]))
        elif path in {"/auth/register", "/users/"}:
            body = options["json"]
            self.leftovers.note(Credentials(body["username"], body["password"]), answer.json()["id"])

    def ask_login(self, username: str, password: str, **options: Any) -> httpx.Response:
        return self.ask("POST", "/auth/login", data={"username": username, "password": password}, **options)

    def as_alice(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.ask(method, path, self.alice.token, **options)

    def as_mallory(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.ask(method, path, self.mallory.token, **options)

    def raw(self, data: bytes) -> bytes:
        """What comes back on a bare connection: for what no library would send. A server may hang up at any point."""
        answer = b""
        with socket.create_connection((self.address.host, self.address.port), timeout=SECONDS) as connection:
            with suppress(ConnectionError):
                connection.sendall(data)
            with suppress(OSError):  # "not connected" after a reset
                connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
        return answer

    def new_account(self, name: str) -> Account:
        """A further account, for a check that leaves it changed."""
        return _account(self.leftovers, name)

    def login(self, account: Account) -> dict[str, Any]:
        """Another login of this account."""
        return self.leftovers.log_in(Credentials(account.username, account.password))

    def new_task(self, owner: Account | None = None, **fields: Any) -> httpx.Response:
        """Create a task, of Mallory by default, that is due tomorrow; it is deleted at the end."""
        return self.ask("POST", "/tasks/", (owner or self.mallory).token, json={**task_body(), **fields})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leftovers.clear_up()


def task_body() -> dict[str, Any]:
    return {
        "name": "security test",
        "task_type": "security_test",
        "celery_task_name": "app.tasks.common_tasks.long_running_task",
        "args": [1],
        "run_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }


def prepare(address: Address, username: str | None, password: str | None) -> Target:
    """Make the two accounts and the task: as the given administrator, as the service's first one, or by registration."""
    leftovers = Leftovers.at(address)
    try:
        if username and password:
            leftovers.use_administrator(Credentials(username, password))
        else:
            leftovers.find_administrator(known_administrators())
        target = Target(
            address, leftovers.http, _account(leftovers, "alice"), _account(leftovers, "mallory"), leftovers
        )
        created = target.new_task(target.alice)
        need(created.status_code, 201, "create a task", created.text)
    except BaseException:
        leftovers.clear_up()
        raise
    target.task = created.json()
    return target


def _account(leftovers: Leftovers, name: str) -> Account:
    user, credentials = leftovers.new_account(name)
    tokens = leftovers.log_in(credentials)
    return Account(
        user["id"], user["username"], user["email"], credentials.password, tokens["access_token"],
        tokens["refresh_token"],
    )  # fmt: skip
