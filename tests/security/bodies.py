"""Tasks that a probe has run by a worker of the server, with files of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.security.registry import expect, expect_status
from tests.security.target import Account, Target

ENDED = frozenset({"succeeded", "failed", "revoked"})
FREE_SECONDS, LOOK_SECONDS = 60.0, 0.5


@contextmanager
def uploaded(target: Target, owner: Account, name: str, content: bytes) -> Iterator[str]:
    """Upload a file and give its id; it is deleted at the end."""
    answer = target.ask("POST", "/files/", owner.token, files={"file": (name, content)})
    file_id = str(expect_status(answer, 201, f"an upload of {len(content)} bytes").json()["id"])
    try:
        yield file_id
    finally:
        target.ask("DELETE", f"/files/{file_id}", owner.token)


def begin(target: Target, owner: Account, name: str, /, **kwargs: Any) -> str:
    """Create a task that is due now. Returns its id."""
    answer = target.new_task(owner, celery_task_name=name, args=[], kwargs=kwargs, run_at=None)
    return str(expect_status(answer, 201, f"a task {name}").json()["id"])


def read(target: Target, owner: Account, task_id: str) -> dict[str, Any]:
    """Return the task."""
    task: dict[str, Any] = expect_status(target.ask("GET", f"/tasks/{task_id}", owner.token), 200).json()
    return task


def cancel(target: Target, owner: Account, ids: Sequence[str]) -> None:
    for each in ids:
        target.ask("POST", f"/tasks/{each}/cancel", owner.token)


def waited(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until it holds, for so many seconds at most. Returns whether it does."""
    until = time.monotonic() + seconds
    while not (it_does := holds()) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return it_does


def are_run(target: Target) -> bool:
    """Say whether a worker runs tasks here: then one has just run, and no earlier probe's task is in its way."""
    for owner in (target.mallory, target.alice):
        for status in ("running", "pending"):
            parameters = {"status": status, "limit": "200"}
            found = expect_status(target.ask("GET", "/tasks/", owner.token, params=parameters), 200).json()
            cancel(target, owner, [each["id"] for each in found if status == "running" or each["run_at"] is None])
    first = begin(target, target.mallory, "app.tasks.common_tasks.long_running_task", duration=0, steps=1)
    task: dict[str, Any] = {}

    def is_known() -> bool:
        task.update(read(target, target.mallory, first))
        return task["status"] in ENDED or _has_no_worker(task)

    waited(is_known, FREE_SECONDS)
    if task["status"] not in ENDED:
        cancel(target, target.mallory, [first])
        expect(_has_no_worker(task), f"no task is run after {FREE_SECONDS:g} s")
    return task["status"] in ENDED


def _has_no_worker(task: dict[str, Any]) -> bool:
    reason = (task.get("waiting_for") or {}).get("reason")
    return bool(reason == "no_worker")
