"""What is measured over HTTP: an account, a task to read, and the endpoints."""

import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.performance.load import Endpoint
from tests.performance.wire import Answer, Request, ask_once
from tests.support.loopback import Address, need

API = "/api/v1"
LONG_RUNNING = "app.tasks.common_tasks.long_running_task"
FORM = "application/x-www-form-urlencoded"
LOGIN = "POST /auth/login"
HEALTHZ = Endpoint("GET /healthz", lambda _: Request("GET", "/healthz"))


@dataclass(frozen=True)
class Account:
    username: str
    password: str
    token: str = ""
    label: str = "performance test"  # the name of its tasks

    def login(self) -> Request:
        form = urlencode({"username": self.username, "password": self.password}).encode()
        return Request("POST", f"{API}/auth/login", form, kind=FORM)

    def read(self, path: str) -> Request:
        return Request("GET", API + path, token=self.token)

    def create(self) -> Request:
        return self.submit(task(LONG_RUNNING, 0, name=self.label, kwargs={"steps": 1}))

    def submit(self, body: dict[str, Any], path: str = "/tasks/") -> Request:
        return Request("POST", API + path, json.dumps(body).encode(), token=self.token)


def task(celery_task_name: str, *args: Any, **fields: Any) -> dict[str, Any]:
    """What to post for a task."""
    named = {"name": "measured", "task_type": "performance_test", "celery_task_name": celery_task_name}
    return {**named, "args": args, **fields}


async def sign_in(address: Address) -> Account:
    """A new account, on a service of the run's own."""
    username, password = f"perf-{secrets.token_hex(6)}", secrets.token_urlsafe(18)
    body = {"username": username, "email": f"{username}@example.com", "password": password}
    answer = await ask_once(address, Request("POST", f"{API}/auth/register", json.dumps(body).encode()))
    need(answer.status, 201, "register an account", answer.body.decode(errors="replace"))
    account = Account(username, password)
    answer = await ask_once(address, account.login())
    need(answer.status, 200, f"log in as {username}", answer.body.decode(errors="replace"))
    return Account(username, password, answer.json()["access_token"])


async def create_one(address: Address, account: Account) -> Answer:
    answer = await ask_once(address, account.create())
    need(answer.status, 201, "create a task", answer.body.decode(errors="replace"))
    return answer


def endpoints(account: Account, task_id: str) -> list[Endpoint]:
    """Reads first: the writes make the tables grow. A login costs an Argon2 hash by design, so few of them do."""
    return [
        Endpoint("GET /tasks/{id}", lambda _: account.read(f"/tasks/{task_id}")),
        Endpoint("GET /tasks/", lambda _: account.read("/tasks/")),
        Endpoint("GET /tasks/count", lambda _: account.read("/tasks/count")),
        Endpoint("POST /tasks/", lambda _: account.create(), expected=201, keep=True),
        Endpoint(LOGIN, lambda _: account.login(), keep=True, share=0.1),
    ]
