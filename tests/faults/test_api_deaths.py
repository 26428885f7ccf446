"""The API dies: at any system call of a POST, between COMMIT and publish, with the reply to its COMMIT on the way."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import redis

from tests.support.faults.api_forks import ForkedApi, Forks
from tests.support.faults.failpoints import failpoints
from tests.support.faults.proxy import READY, TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import TASKS, messages
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

INSERT = b"INSERT INTO tasks"
IN_TRANSACTION = b"Z\0\0\0\5T"  # PostgreSQL's ReadyForQuery, inside a transaction
STARTS_WITHIN = 10.0
# After the answer is out nothing but the wake-up is left to break: every fourth call of it will do.
STRIDE = {False: 1, True: 4}


class TestAnyMoment:
    """Row 1: SIGKILL swept over the calls of one POST, each time in an API process of its own."""

    def test_no_201_without_a_row(self, scene: Callable[..., Scene]) -> None:
        running = scene()
        token = running.http.headers["Authorization"]
        forks = Forks(running.stack)
        seen: Counter[tuple[bool, bool]] = Counter()
        fatal, died = 1, ""
        while died is not None:
            with forks.api(fatal) as api:
                answered = self._post(running, api, f"boundary {fatal}", token)
                died = api.end()
            rows = running.stack.sql("SELECT id FROM tasks WHERE name = :name", name=f"boundary {fatal}")
            assert [str(row[0]) for row in rows] == [answered] or answered is None, f"died {died}"
            seen[answered is not None, bool(rows)] += died is not None
            fatal += STRIDE[answered is not None]
        # The sweep met every kind of death: before the row, between row and answer, after the answer.
        assert set(seen) == {(False, False), (False, True), (True, True)}, seen
        running.accepted = [str(row[0]) for row in running.stack.sql("SELECT id FROM tasks")]
        running.stack.worker(concurrency=1)
        running.check()

    @staticmethod
    def _post(running: Scene, api: ForkedApi, name: str, token: str) -> str | None:
        """The id that was answered 201, None where no answer came; returns when the request is over in the API too."""
        api.arm()
        body = {**running.body("ledger.work"), "name": name}
        try:
            with httpx.Client(base_url=api.url, headers={"Authorization": token}, timeout=20, verify=False) as client:
                answer = client.post(TASKS, json=body)
        except httpx.TransportError:
            wait_for(lambda: api.has_died, 20, "the API to have died")
            return None
        assert answer.status_code == 201, answer.text
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            wait_for(lambda: api.has_died or messages(broker, "default"), 20, "its wake-up to be out")
            broker.flushdb()  # the next one is to be seen
        return str(answer.json()["id"])


class TestBetweenCommitAndPublish:
    """Row 2: the row is there, and no wake-up was sent."""

    def test_a_task_whose_api_died_unanswered_starts(self, class_scene: Scene) -> None:
        once = class_scene.stack.directory / "died"
        with self._serving(
            class_scene, {"do": "kill", "at": "app.messaging.publisher:publish", "once_file": str(once)}
        ):
            with pytest.raises(httpx.TransportError):
                class_scene.work()
            assert once.exists()
            self._starts_in_time(class_scene)

    def test_an_accepted_task_whose_api_died_before_the_wake_up_starts(self, class_scene: Scene) -> None:
        held = class_scene.stack.directory / "held"
        point = {"do": f"wait:{held}-never", "at": "app.messaging.publisher:wake", "once_file": str(held)}
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
        newest = "SELECT id, extract(epoch FROM created_at) FROM tasks ORDER BY id DESC LIMIT 1"
        ((task_id, created_at),) = running.stack.sql(newest)
        assert running.started(str(task_id)).time - float(created_at) <= STARTS_WITHIN
        running.accepted = [str(task_id)]
        running.check()


class TestALostReply:
    """Row 3: PostgreSQL has done it, and its reply is lost on the way; the client asks again under the same key."""

    @pytest.mark.parametrize("lost", ["INSERT", "COMMIT"])
    def test_the_same_key_makes_one_row(self, scene: Callable[..., Scene], services: Services, lost: str) -> None:
        running = scene()
        with TcpProxy("127.0.0.1", services.postgres.port) as proxy, ThreadPoolExecutor(1) as client:
            running.stack.server(env={"DATABASE_URL": proxy.through(running.stack.database_url)})
            assert running.http.get(TASKS).json() == []  # logged in, connected
            inserted = proxy.drop_reply(INSERT, IN_TRANSACTION) if lost == "INSERT" else proxy.hold_reply(INSERT)
            answer = client.submit(self._post, running)
            inserted.wait()
            if lost == "COMMIT":
                committed = proxy.drop_reply(b"COMMIT", READY)
                proxy.release(inserted)
                committed.wait()
            assert answer.result().status_code == 503, answer.result().text
            again = self._post(running)
            assert again.headers.get("Idempotency-Replayed") == ("true" if lost == "COMMIT" else None)
            once_more = self._post(running)
        assert (again.status_code, once_more.status_code) == (201, 201), again.text
        rows = running.stack.sql("SELECT id FROM tasks")
        assert [str(row[0]) for row in rows] == [again.json()["id"]] == [once_more.json()["id"]]
        running.accepted = [again.json()["id"]]
        running.stack.worker(concurrency=1)
        running.check()

    @staticmethod
    def _post(running: Scene) -> httpx.Response:
        return running.http.post(TASKS, json=running.body("ledger.work"), headers={"Idempotency-Key": "only once"})
