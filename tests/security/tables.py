"""What a cancelled task leaves running in its worker: nothing that another task would wait for."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.security.registry import RESOURCES, check, expect, expect_status
from tests.security.target import Account, Target

PROFILE = "app.tasks.common_tasks.profile_data"
ENDED = {"succeeded", "failed", "revoked"}
# Each line has a name of its own: a service that does not refuse that finds the types in one native call of minutes.
NAMES = 100_000
SMALL, SMALL_TABLES = b"a,b\n1,2\n3,4\n", 8
START_SECONDS, END_SECONDS, SMALL_SECONDS = 20.0, 30.0, 30.0
LOOK_SECONDS = 0.5


@check(RESOURCES)
def cancelled_tables(target: Target) -> None:
    """A cancelled task on a large table holds up no table of another account"""
    large = b"".join(b'{"k%d":1}\n' % number for number in range(NAMES))
    with (
        _file(target, target.mallory, "large.jsonl", large) as large_id,
        _file(target, target.alice, "small.csv", SMALL) as small_id,
    ):
        attacked: list[str] = []
        others: list[str] = []
        try:
            attacked += (_profile(target, target.mallory, large_id, "jsonl") for _ in range(2))
            if not _begun(target, attacked):
                return  # without a worker there is nothing to probe
            _cancel(target, target.mallory, attacked)
            left = _left(target, target.mallory, attacked, END_SECONDS)
            expect(not left, f"{len(left)} of {len(attacked)} cancelled tasks are not over after {END_SECONDS:g} s")
            others += (_profile(target, target.alice, small_id, "csv") for _ in range(SMALL_TABLES))
            left = _left(target, target.alice, others, SMALL_SECONDS)
            expect(not left, f"{len(left)} of {len(others)} small tables are not read after {SMALL_SECONDS:g} s")
        finally:
            _cancel(target, target.mallory, attacked)
            _cancel(target, target.alice, others)


@contextmanager
def _file(target: Target, owner: Account, name: str, content: bytes) -> Iterator[str]:
    answer = target.ask("POST", "/files/", owner.token, files={"file": (name, content)})
    file_id = str(expect_status(answer, 201, f"an upload of {len(content)} bytes").json()["id"])
    try:
        yield file_id
    finally:
        target.ask("DELETE", f"/files/{file_id}", owner.token)


def _profile(target: Target, owner: Account, file_id: str, format: str) -> str:  # noqa: A002 (the service's word)
    fields: dict[str, Any] = {
        "celery_task_name": PROFILE,
        "args": [],
        "kwargs": {"file": file_id, "format": format},
        "run_at": None,
    }
    return str(expect_status(target.new_task(owner, **fields), 201, "a profile of a table").json()["id"])


def _begun(target: Target, ids: Sequence[str]) -> bool:
    """Wait until a worker reads one of them, or has refused it. Returns False where none does: nobody serves them."""

    def is_begun(task: dict[str, Any]) -> bool:
        return task["status"] in ENDED or bool(task.get("progress_detail"))

    def waits_for_nobody(task: dict[str, Any]) -> bool:
        return (task.get("waiting_for") or {}).get("reason") == "no_worker"

    tasks: list[dict[str, Any]] = []

    def is_known() -> bool:
        tasks[:] = [expect_status(target.as_mallory("GET", f"/tasks/{each}"), 200).json() for each in ids]
        return any(map(is_begun, tasks)) or all(map(waits_for_nobody, tasks))

    _waited(is_known, START_SECONDS)
    return any(map(is_begun, tasks))


def _left(target: Target, owner: Account, ids: Sequence[str], seconds: float) -> list[str]:
    """Return those that are not over after so many seconds."""
    left = [*ids]

    def is_over() -> bool:
        left[:] = [each for each in left if _status(target, owner, each) not in ENDED]
        return not left

    _waited(is_over, seconds)
    return left


def _status(target: Target, owner: Account, task_id: str) -> str:
    return str(expect_status(target.ask("GET", f"/tasks/{task_id}", owner.token), 200).json()["status"])


def _cancel(target: Target, owner: Account, ids: Sequence[str]) -> None:
    for task_id in ids:
        target.ask("POST", f"/tasks/{task_id}/cancel", owner.token)


def _waited(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
