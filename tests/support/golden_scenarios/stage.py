"""Where a scenario plays: a database of its own, the API in this process, and what is captured meanwhile."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.served_tasks import ServedTasks, served_tasks
from app.db.session import SessionLocal
from app.main import create_app
from app.messaging import publisher
from app.models.worker import WorkerProcess
from app.services.operations import admitter
from tests.support.accounts import API, bearer
from tests.support.golden_sql import Captured, capture
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.task_client import TaskClient
from tests.support.tasks import LONG_RUNNING, WORKER, new_login

QUEUES = ["high_priority", "default", "low_priority"]


class Stage:
    """What a scenario drives. What its own code sends, such as the rows to begin with, is not captured."""

    def __init__(self, client: TestClient | None = None) -> None:
        self._client = client

    @property
    def client(self) -> TestClient:
        assert self._client is not None, "the scenario has no API"
        return self._client

    def user(self, role: str = "user") -> TaskClient:
        """The view of a new user, without the requests by which a user comes to be."""
        with SessionLocal() as db:
            token = new_login(db, role)
        me = self.client.get(f"{API}/users/me", headers=bearer(token)).json()
        return TaskClient(self.client, me, token)

    def call(self, who: TaskClient | None, method: str, path: str, status: int = 200, **options: Any) -> httpx.Response:
        """Ask for a path below /api/v1 and get this status."""
        headers = {**({} if who is None else who.headers), **options.pop("headers", {})}
        answer: httpx.Response = self.client.request(method, API + path, headers=headers, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        settle()
        return answer


def settle() -> None:
    """Wait for what the threads of this process do after a commit: what they send depends on what they find."""
    assert publisher.flush(10)
    assert admitter.flush(10)


def serve(db: Session, task_names: list[str] | None = None) -> None:
    """Have a worker live that knows these tasks, or LONG_RUNNING alone."""
    names = [LONG_RUNNING] if task_names is None else task_names
    db.merge(WorkerProcess(id=WORKER.id, name=WORKER.name, pid=1, queues=QUEUES, concurrency=8, task_names=names))
    db.commit()


@dataclass(frozen=True)
class Scenario:
    """`play` with these settings; with `api`, on a stage with a client."""

    play: Callable[[Stage], None]
    api: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def captured(self, services: Services) -> Captured:
        """What the service sends while it plays."""
        with ExitStack() as opened:
            opened.enter_context(on_new_database(services, **self.settings))
            opened.enter_context(_fresh_picture())
            client = opened.enter_context(TestClient(create_app())) if self.api else None
            with capture() as found:
                self.play(Stage(client))
                settle()
            return found


@contextmanager
def _fresh_picture() -> Iterator[None]:
    """The workers are read at every look: by the clock, some scenario would send that statement only sometimes."""
    served_tasks.replace(None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ServedTasks, "is_due", lambda _: True)
        yield
    served_tasks.replace(None)
