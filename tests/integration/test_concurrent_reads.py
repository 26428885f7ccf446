"""More readers and waiters at once than threads and connections: all are answered, and none keeps another waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.accounts import bearer
from tests.support.running import TASKS, Start
from tests.support.stack import Stack

READERS = 32
READS = 160
SECONDS = 60


def test_many_readers_are_all_answered(stack: Stack) -> None:
    # Two connections for four threads: who holds one while it waits for a thread soon runs the others into the pool's
    # time limit, which is a 503.
    stack.server(env={"DATABASE_POOL_SIZE": "1"})
    _, token = stack.make_user()
    limits = httpx.Limits(max_connections=READERS)
    with (
        httpx.Client(base_url=stack.url, headers=bearer(token), limits=limits, timeout=SECONDS) as client,
        ThreadPoolExecutor(READERS) as readers,
    ):
        for path in ("/tasks/", "/tasks/count", "/tasks/types", "/users/me"):
            answers = list(readers.map(client.get, [f"/api/v1{path}"] * READS))
            assert [answer.status_code for answer in answers] == [200] * READS, path


def test_many_who_wait_do_not_hold_up_anybody(start: Start) -> None:
    running = start()
    ids = [running.create("echo", run_at="2100-01-01T00:00:00Z") for _ in range(3)]
    ended: list[str] = []

    def wait(task_id: str) -> None:
        client = running.stack.api(running.token)
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
