"""The server that is probed: two accounts on it, a task of one of them, and ways to ask."""

import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.loopback import Address, need

API = "/api/v1"
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
    """Alice owns `task`; Mallory wants it. `admin` is there where an administrator's credentials were given."""

    address: Address
    http: httpx.Client
    alice: Account
    mallory: Account
    task: dict[str, Any]
    admin_token: str | None = None
    created: list[tuple[str, str]] = field(default_factory=list)  # tasks: their ids, and their owners' ids
    keys: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """One request to a path below the API (or to any path that begins with `//`), with a bearer token or without."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        url = path[1:] if path.startswith("//") else API + path
        answer = self.http.request(method, url, headers=headers, **options)
        if (method, path, answer.status_code) == ("POST", "/tasks/", httpx.codes.CREATED):
            self.created.append((answer.json()["id"], answer.json()["user_id"]))
        return answer

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

    def login(self, account: Account) -> dict[str, Any]:
        """Another login of this account."""
        return _login(self.http, account.username, account.password)

    def new_task(self, owner: Account | None = None, **fields: Any) -> httpx.Response:
        """Create a task, of Mallory by default, that is due tomorrow; it is deleted at the end."""
        return self.ask("POST", "/tasks/", (owner or self.mallory).token, json={**task_body(), **fields})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._clear_up()
        finally:
            self.http.close()

    def _clear_up(self) -> None:
        for task_id, owner in self.created:
            ask = self.as_alice if owner == self.alice.id else self.as_mallory
            ask("DELETE", f"/tasks/{task_id}", params={"force": "true"})
        for key_id, token in self.keys:
            self.ask("DELETE", f"/auth/api-keys/{key_id}", token)
        for account in (self.alice, self.mallory) if self.admin_token else ():
            self.ask("DELETE", f"/users/{account.id}", self.admin_token)


def task_body() -> dict[str, Any]:
    return {
        "name": "security test",
        "task_type": "security_test",
        "celery_task_name": "app.tasks.common_tasks.long_running_task",
        "args": [1],
        "run_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }


def prepare(address: Address, username: str | None, password: str | None) -> Target:
    """Make the two accounts, by registration or as the administrator whose credentials were given, and the task."""
    http = httpx.Client(base_url=address.url, timeout=SECONDS, trust_env=False)
    try:
        admin = _login(http, username, password)["access_token"] if username and password else None
        alice, mallory = _account(http, "alice", admin), _account(http, "mallory", admin)
        target = Target(address, http, alice, mallory, {}, admin)
        created = target.new_task(alice)
        need(created.status_code, 201, "create a task", created.text)
    except BaseException:
        http.close()
        raise
    target.task = created.json()
    return target


def _account(http: httpx.Client, name: str, admin: str | None) -> Account:
    username, password = f"{name}-{secrets.token_hex(5)}", secrets.token_urlsafe(18)
    body = {"username": username, "email": f"{username}@example.com", "password": password}
    if admin:
        answer = http.post(f"{API}/users/", json=body, headers={"Authorization": f"Bearer {admin}"})
        need(answer.status_code, 201, "create an account as the given user, who must be an administrator", answer.text)
    else:
        answer = http.post(f"{API}/auth/register", json=body)
        need(
            answer.status_code,
            201,
            "register (where registration is closed, give --username and --password of an administrator)",
            answer.text,
        )
    tokens = _login(http, username, password)
    return Account(
        answer.json()["id"], username, body["email"], password, tokens["access_token"], tokens["refresh_token"]
    )


def _login(http: httpx.Client, username: str, password: str) -> dict[str, Any]:
    answer = http.post(f"{API}/auth/login", data={"username": username, "password": password})
    need(answer.status_code, 200, f"log in as {username}", answer.text)
    return dict(answer.json())
