"""The next release takes over below a load, its database first: nothing is lost or done twice, and no answer is an error."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.report.recorded import is_promised
from tests.support import accounts
from tests.support.event_reader import EventReader
from tests.support.faults.load import repeated
from tests.support.faults.receiver import Ledger, ledger
from tests.support.faults.scene import Scene
from tests.support.next_release import HELD, NextRelease
from tests.support.running import TASKS
from tests.support.spelling import id_of
from tests.support.stack import START_SECONDS
from tests.support.waiting import answers, wait_for

API = "/api/v1"
SCHEDULES = f"{API}/schedules/"
SETTINGS = {"OUTBOUND_ALLOW": '["127.0.0.0/8"]'}
# Together the clients ask for 200 tasks a second; a loaded machine takes fewer.
CLIENTS, PAUSE_SECONDS = 4, 0.02
# Between two steps, so that each state of the deployment has its share of the work.
STATE_TASKS = 100
# A client is sent away for less than this.
AWAY_SECONDS = 2.0
SETTLE_SECONDS = 180.0
FAN: dict[str, list[str]] = {"first": [], "left": ["first"], "right": ["first"], "last": ["left", "right"]}
OLD: dict[str, str] = {}


class Deployment:
    """An API process and a worker, each of either release. Clients ask the API that is ready, as a load balancer has them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.token = scene.token
        self.answers: Counter[int] = Counter()
        self.url, self._api = scene.stack.url, scene.stack.server()
        self._worker = scene.stack.worker()

    def replace_api(self, env: dict[str, str]) -> None:
        before = self._api
        url = self.scene.stack.another_server(env)
        self._api = self.scene.stack.parts[-1]
        wait_for(lambda: answers(url, "/readyz"), START_SECONDS, "the API to be ready")
        self.url = url
        before.stop(30)
        self.work_on()

    def replace_worker(self, env: dict[str, str]) -> None:
        before, self._worker = self._worker, self.scene.stack.worker(env=env)
        before.stop(30)
        self.work_on()

    def work_on(self) -> None:
        wanted = len(self.scene.accepted) + STATE_TASKS
        wait_for(lambda: len(self.scene.accepted) >= wanted, 60, "more tasks to be accepted")

    def ask(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask again where no process listens any more, or one says to come back, for AWAY_SECONDS at most."""
        until = time.monotonic() + AWAY_SECONDS
        while True:
            with suppress(httpx.ConnectError):
                answer = client.request(method, self.url + path, headers=accounts.bearer(self.token), **options)
                self.answers[answer.status_code] += 1
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return answer
                assert answer.headers.get("Retry-After"), answer.text
            assert time.monotonic() < until, f"no API answers {method} {path}"
            time.sleep(0.05)

    @contextmanager
    def creating(self, path: str, body: dict[str, Any], pause: float) -> Iterator[None]:
        """A client of its own that creates this again and again, and keeps the ids of the tasks."""

        def create() -> None:
            answer = self.ask(client, "POST", path, json=body)
            assert answer.status_code == httpx.codes.CREATED, answer.text
            made = answer.json()
            self.scene.accepted.extend(each["id"] for each in made.get("tasks", [made]))

        with httpx.Client(timeout=30) as client, repeated(create, lambda: pause):
            yield


@contextmanager
def followed(deployment: Deployment) -> Iterator[list[str]]:
    """A client that follows all tasks, and opens its stream again where it ends; the states that it was sent."""
    seen: list[str] = []
    last: list[str | None] = [None]

    def follow() -> None:
        with (
            suppress(ConnectionRefusedError),
            EventReader(deployment.url, f"{TASKS}events", deployment.token, last[0]) as reader,
        ):
            assert reader.status == httpx.codes.OK, reader.body
            reader.until(lambda each: each.ended or over.is_set(), "the stream to end", SETTLE_SECONDS)
            seen.extend(each.kind for each in reader.events)
            last[0] = reader.last_id or last[0]

    over = threading.Event()
    with repeated(follow, lambda: 0.05):
        try:
            yield seen
        finally:
            over.set()


@pytest.fixture
def receiver() -> Iterator[Ledger]:
    with ledger() as made:
        yield made


@pytest.fixture
def deployment(scene: Callable[..., Scene], receiver: Ledger) -> Deployment:
    built = scene(**SETTINGS)
    made = built.http.post(f"{API}/webhooks/", json={"url": receiver.web.url("/all"), "events": ["task.succeeded"]})
    receiver.listen("/all", made.json()["secret"])
    each_second = {"every_seconds": 1, "overlap": "allow", "catch_up": "all"}
    wanted = {"name": "each second", "task": built.body("ledger.work"), **each_second}
    assert built.http.post(SCHEDULES, json=wanted).status_code == httpx.codes.CREATED
    return Deployment(built)


@contextmanager
def load(deployment: Deployment) -> Iterator[None]:
    work = deployment.scene.body("ledger.work")
    fan = {"name": "fan", "tasks": [{**work, "ref": ref, "depends_on": on} for ref, on in FAN.items()]}
    with ExitStack() as running:
        running.enter_context(followed(deployment))
        for _ in range(CLIENTS):
            running.enter_context(deployment.creating(TASKS, work, PAUSE_SECONDS))
        running.enter_context(deployment.creating(f"{API}/workflows/", fan, 0.5))
        yield


def hold(deployment: Deployment) -> str:
    """A due task that the next release holds."""
    scene = deployment.scene
    held = scene.body("ledger.work", fields={"delay_seconds": 3600})
    with httpx.Client() as client:
        task_id = str(deployment.ask(client, "POST", TASKS, json=held).json()["id"])
    scene.stack.sql(
        "UPDATE tasks SET held = :held, run_at = NULL, due_at = created_at WHERE id = :id", held=HELD, id=task_id
    )
    return task_id


def reason(deployment: Deployment, task_id: str) -> str:
    with httpx.Client() as client:
        return str(deployment.ask(client, "GET", TASKS + task_id).json()["waiting_for"]["reason"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", ["api", "worker"])
def test_in_any_order_and_back_in_between(deployment: Deployment, receiver: Ledger, tmp_path: Path, first: str) -> None:
    scene, release = deployment.scene, NextRelease(tmp_path / "next")
    replace = {"api": deployment.replace_api, "worker": deployment.replace_worker}
    second = next(each for each in replace if each != first)
    with load(deployment):
        deployment.work_on()
        release.migrate(scene.stack.settings)
        assert answers(deployment.url, "/readyz")
        deployment.work_on()
        task_id = hold(deployment)
        for part, env in ((first, release.env), (first, OLD), (first, release.env), (second, release.env)):
            assert reason(deployment, task_id) == HELD
            replace[part](env)
        assert reason(deployment, task_id) == HELD
    with httpx.Client() as client:
        (schedule,) = deployment.ask(client, "GET", SCHEDULES).json()
        for path in (f"{SCHEDULES}{schedule['id']}/pause", f"{TASKS}{task_id}/cancel"):
            assert deployment.ask(client, "POST", path, json={}).is_success
    with is_promised():
        assert set(deployment.answers) <= {200, 201, 202, 503}
        rows = {str(id_of(row[0])) for row in scene.stack.sql("SELECT id FROM tasks")}
        scheduled = rows - set(scene.accepted) - {task_id}
        assert len(scheduled) == scene.stack.sql("SELECT count(*) FROM schedule_runs")[0][0] > 0
        scene.accepted += scheduled
        assert set(scene.accepted) == rows - {task_id}
    scene.ran_once(scene.accepted)
    with is_promised():
        told = {("/all", each, "task.succeeded") for each in scene.accepted}
        wait_for(lambda: {(each.path, *each.event) for each in receiver.taken} >= told, SETTLE_SECONDS, "all webhooks")
        assert not receiver.forged
