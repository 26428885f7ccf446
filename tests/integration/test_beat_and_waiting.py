"""Beat starts the housekeeping; and those who wait for a task hold nobody up."""

import re
import threading
from collections.abc import Callable

from tests.support.running import TASKS, Running
from tests.support.waiting import wait_for


class TestBeat:
    def test_fires_the_purge_tasks(self, start: Callable[..., Running]) -> None:
        running = start(RETENTION_DAYS="1")
        worker = running.stack.worker(concurrency=1)
        old, young = running.run("echo")["id"], running.run("echo")["id"]
        running.stack.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard")
        running.stack.sql("UPDATE tasks SET finished_at = now() - interval '2 days' WHERE id = :id", id=old)
        running.stack.sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard")
        fired = "INSERT INTO periods (name, fired_at) VALUES (:name, now() - interval '2 hours')"
        for name in ("purge-finished-tasks", "purge-expired-logins"):
            running.stack.sql(fired, name=name)
        beats = [running.stack.beat() for _ in range(3)]
        wait_for(lambda: running.http.get(TASKS + old).status_code == 404, 20, "the old one to be gone")
        assert running.get(young)["status"] == "succeeded"
        for name in ("purge_finished_tasks", "purge_expired_logins"):
            wait_for(lambda: re.search(rf"{name}\[.*succeeded", worker.output()), 20, name)  # noqa: B023
        sent = [beat.output().count("beat: sending") for beat in beats]
        assert sum(sent) == 2, sent
        assert running.stack.sql("SELECT count(*) FROM periods WHERE fired_at < now() - interval '1 hour'")[0][0] == 0


class TestWaiting:
    def test_many_who_wait_do_not_hold_up_anybody(self, start: Callable[..., Running]) -> None:
        running = start()
        ids = [running.create("echo", run_at="2100-01-01T00:00:00Z") for _ in range(3)]
        ended: list[str] = []
        token = running.http.headers["Authorization"].removeprefix("Bearer ")

        def wait(task_id: str) -> None:
            client = running.stack.api(token=token)
            ended.append(client.get(TASKS + task_id, params={"wait": 30}, timeout=60).json()["status"])

        waiting = [threading.Thread(target=wait, args=(ids[number % 3],)) for number in range(30)]
        for thread in waiting:
            thread.start()
        took = [running.http.get(TASKS).elapsed.total_seconds() for _ in range(10)]
        assert max(took) < 5
        for task_id in ids:
            assert running.post(task_id, "cancel").status_code == 200
        for thread in waiting:
            thread.join(20)
        assert ended == ["revoked"] * 30
