"""A client whose server is a list of answers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from task_service_client import Client
from task_service_client._sync import transport
from task_service_client.cli.app import application
from tests.support.client_profiles import forget_this_machine

URL = "http://service.example"
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Gives its answers one after the other; `requests` are those that came, `slept` the pauses in seconds."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def connect(self, client: Client) -> Client:
        client._transport._http = httpx.Client(base_url=URL, transport=httpx.MockTransport(self))
        return client

    def headers(self, name: str) -> list[str | None]:
        return [request.headers.get(name) for request in self.requests]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(transport, "sleep", made.slept.append)
    yield made
    assert made.answers == []


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.connect(Client(URL, api_key="tsk_key")) as made:
        yield made


def task(**fields: Any) -> dict[str, Any]:
    """A task as the server shows it."""
    now = "2026-12-01T08:00:00Z"
    nothing = dict.fromkeys(
        ("status_reason", "progress_detail", "result", "error", "error_fingerprint", "run_at", "delay_seconds",
         "expires_at", "timeout_seconds", "retry_backoff_seconds", "unique_key", "on_conflict", "worker", "started_at",
         "finished_at", "cancel_requested_at")
    )  # fmt: skip
    known = {
        "id": str(uuid4()), "celery_id": str(uuid4()), "user_id": str(uuid4()), "name": "n", "task_type": "t",
        "celery_task_name": "c", "args": [], "kwargs": {}, "priority": "normal", "queue": "default",
        "status": "pending", "progress": 0, "max_attempts": 1, "tags": [], "metadata": {}, "attempt": 0, "version": 1,
        "created_at": now, "updated_at": now,
    }  # fmt: skip
    return {**nothing, **known, **fields}


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "title": "t", "detail": "why"}, headers=headers)


def events(*sent: dict[str, Any], name: str = "task") -> httpx.Response:
    """A stream of these tasks, which then ends."""
    import json

    text = "".join(f"event: {name}\nid: {each['version']}\ndata: {json.dumps(each)}\n\n" for each in sent)
    return httpx.Response(200, text="retry: 10\n\n" + text, headers={"Content-Type": "text/event-stream"})


class Service:
    """Answers all requests of this process by their method and path."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[f"{request.method} {request.url.path.removeprefix('/api/v1')}"]
        if isinstance(answer, Exception):
            raise answer
        answer = answer(request) if callable(answer) else answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()

    async def answered(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return made(request)

    def answer(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        request.read()
        return made(request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answered)
    monkeypatch.setattr(transport, "sleep", lambda _: None)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return made


@pytest.fixture
def signed_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("TASK_SERVICE_URL", URL)
    monkeypatch.setenv("TASK_SERVICE_API_KEY", "tsk_key")
    return service


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(application(), [*words], input=stdin)
