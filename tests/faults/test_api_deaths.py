"""The API dies: at any system call of a POST, between COMMIT and publish, with the reply to its COMMIT on the way."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import redis
from sqlalchemy import select

from app.models.task import Task
from tests.support.databases import ENGINE
from tests.support.faults.api_forks import ForkedApi, Forks
from tests.support.faults.engines import database_server_of, needs_server
from tests.support.faults.failpoints import failpoints
from tests.support.faults.proxy import READY, TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import TASKS, messages
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.stack import Part
from tests.support.waiting import wait_for

INSERT = b"INSERT INTO tasks"
# PostgreSQL's ReadyForQuery, inside a transaction and after it; MySQL's first packet of a reply, which is OK.
OK = b"\0\0\1\0"
IN_TRANSACTION, COMMITTED = (b"Z\0\0\0\5T", READY) if ENGINE == "postgresql" else (OK, OK)
STARTS_WITHIN = 10.0
# After the answer is out nothing but the wake-up is left to break: every fourth call of it will do.
STRIDE = {False: 1, True: 4}


class TestAnyMoment:
    """Row 1: SIGKILL swept over the calls of one POST, each time in an API process of its own."""

    @pytest.mark.parametrize(
        "number",
        [
            pytest.param(None, id="of a task"),
            pytest.param(3, marks=pytest.mark.every_engine("a batch is atomic"), id="of a batch"),
        ],
    )
    def test_no_201_without_all_rows(self, scene: Callable[..., Scene], number: int | None) -> None:
        running = scene()
        token = running.http.headers["Authorization"]
        forks = Forks(running.stack)
        seen: Counter[tuple[bool, int]] = Counter()
        fatal, died = 1, ""
        while died is not None:
            with forks.api(fatal) as api:
                answered = self._post(running, api, f"boundary {fatal}", token, number)
                died = api.end()
            rows = running.stack.sql("SELECT id FROM tasks WHERE name = :name", name=f"boundary {fatal}")
            assert {str(id_of(row[0])) for row in rows} == set(answered) or not answered, f"died {died}"
            seen[bool(answered), len(rows)] += died is not None
            fatal += STRIDE[bool(answered)]
        # The sweep met every kind of death: before the rows, between rows and answer, after the answer.
        assert set(seen) == {(False, 0), (False, number or 1), (True, number or 1)}, seen
        running.accepted = [str(id_of(row[0])) for row in running.stack.sql("SELECT id FROM tasks")]
        running.stack.worker(concurrency=1)
        running.check()

    @staticmethod
    def _post(running: Scene, api: ForkedApi, name: str, token: str, number: int | None) -> list[str]:
        """The ids that were answered 201, none where no answer came; returns when the request is over in the API too.

        With a number, those of so many tasks in a batch.
        """
        api.arm()
        body = {**running.body("ledger.work"), "name": name}
        path, sent = (TASKS, body) if number is None else (f"{TASKS}batch", {"tasks": [body] * number})
        try:
            with httpx.Client(base_url=api.url, headers={"Authorization": token}, timeout=20, verify=False) as client:
                answer = client.post(path, json=sent)
        except httpx.TransportError:
            wait_for(lambda: api.has_died, 20, "the API to have died")
            return []
        assert answer.status_code == 201, answer.text
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            wait_for(lambda: api.has_died or messages(broker, "default"), 20, "its wake-up to be out")
            broker.flushdb()  # the next one is to be seen
        return [str(task["id"]) for task in answer.json().get("tasks", [answer.json()])]


@pytest.mark.every_engine("kill of the API")
class TestBetweenCommitAndPublish:
    """Row 2: the row is there, and no wake-up was sent."""

    def test_a_task_whose_api_died_unanswered_starts(self, class_scene: Scene) -> None:
        once = class_scene.stack.directory / "died"
        with self._serving(class_scene, {"do": "kill", "at": "app.messaging.wakeups:publish", "once_file": str(once)}):
            with pytest.raises(httpx.TransportError):
                class_scene.work()
            assert once.exists()
            self._starts_in_time(class_scene)

    def test_an_accepted_task_whose_api_died_before_the_wake_up_starts(self, class_scene: Scene) -> None:
        held = class_scene.stack.directory / "held"
        point = {"do": f"wait:{held}-never", "at": "app.messaging.wakeups:wake", "once_file": str(held)}
        with self._serving(class_scene, point) as api:
            class_scene.work()
            wait_for(held.exists, 20, "the publisher to be about to send")
            api.kill()
            self._starts_in_time(class_scene)

    @contextmanager
    def _serving(self, running: Scene, point: dict[str, str]) -> Iterator[Part]:
        """A worker, and an API with this point: each test's own."""
        worker, api = running.stack.worker(concurrency=1), running.stack.server(env=failpoints(point))
        try:
            yield api
        finally:
            api.kill()
            worker.stop()

    def _starts_in_time(self, running: Scene) -> None:
        """The newest row, for which no API process has woken anybody."""
        with running.stack.engine.begin() as db:
            newest = select(Task.id, Task.created_at).order_by(Task.id.desc()).limit(1)
            task_id, created_at = db.execute(newest).one()
        assert running.started(str(task_id)).time - created_at.timestamp() <= STARTS_WITHIN
        running.accepted = [str(task_id)]
        running.check()


@needs_server
class TestALostReply:
    """Row 3: the database has done it, and its reply is lost on the way; the client asks again under the same key."""

    @pytest.mark.parametrize("lost", ["INSERT", "COMMIT"])
    def test_the_same_key_makes_one_row(self, scene: Callable[..., Scene], services: Services, lost: str) -> None:
        running = scene()
        with TcpProxy("127.0.0.1", database_server_of(services).port) as proxy, ThreadPoolExecutor(1) as client:
            running.stack.server(env={"DATABASE_URL": proxy.through(running.stack.database_url)})
            assert running.http.get(TASKS).json() == []  # logged in, connected
            inserted = proxy.drop_reply(INSERT, IN_TRANSACTION) if lost == "INSERT" else proxy.hold_reply(INSERT)
            answer = client.submit(self._post, running)
            inserted.wait()
            if lost == "COMMIT":
                committed = proxy.drop_reply(b"COMMIT", COMMITTED)
                proxy.release(inserted)
                committed.wait()
            assert answer.result().status_code == 503, answer.result().text
            again = self._post(running)
            assert again.headers.get("Idempotency-Replayed") == ("true" if lost == "COMMIT" else None)
            once_more = self._post(running)
        assert (again.status_code, once_more.status_code) == (201, 201), again.text
        rows = running.stack.sql("SELECT id FROM tasks")
        assert [str(id_of(row[0])) for row in rows] == [again.json()["id"]] == [once_more.json()["id"]]
        running.accepted = [again.json()["id"]]
        running.stack.worker(concurrency=1)
        running.check()

    @staticmethod
    def _post(running: Scene) -> httpx.Response:
        return running.http.post(TASKS, json=running.body("ledger.work"), headers={"Idempotency-Key": "only once"})
