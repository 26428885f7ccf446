"""Tasks that log and print, loaded with TASK_MODULES."""

# ruff: noqa: T201

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery.utils.log import get_task_logger

from app.celery_app import celery_app
from app.services.task_service import task_service

log = logging.getLogger(__name__)
of_celery = get_task_logger(__name__)
# As libraries do that have a log of their own.
alone = logging.getLogger("tests.alone")
alone.propagate = False


def await_gate(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.02)


@celery_app.task(bind=True, name="tests.log_everything")
def log_everything(self: Any, password: str = "hunter2hunter2") -> None:
    """Each way to log, in order."""
    log.debug("not kept")
    log.info("rows: %d", 100, extra={"rows": 100, "password": password})
    of_celery.info("from celery's logger")
    alone.warning("from a logger alone, %s", password)
    print("printed", "in parts")
    print("to stderr", file=sys.stderr)
    print("two\nlines and no end", end="")
    try:
        raise ValueError("caught")
    except ValueError:
        log.exception("failed")


@celery_app.task(bind=True, name="tests.log_and_fail", max_attempts=2, retry_backoff=0.01)
def log_and_fail(self: Any) -> None:
    """Log as the last thing before the failure."""
    log.info("failure %d", self.request.retries)
    raise ValueError("the end")


@celery_app.task(bind=True, name="tests.log_before_and_behind")
def log_before_and_behind(self: Any, gate: str, *, fail: bool = False) -> None:
    """A line, the gate, a line."""
    log.info("before")
    await_gate(gate)
    log.warning("behind")
    Path(f"{gate}-behind").touch()
    if fail:
        raise ValueError("behind the gate")


@celery_app.task(bind=True, name="tests.log_and_die", rerun_lost=False)
def log_and_die(self: Any, gate: str) -> None:
    """Log a line, and be killed behind the gate."""
    log.info("the last words")
    await_gate(gate)
    os.kill(os.getpid(), signal.SIGKILL)


@celery_app.task(bind=True, name="tests.log_and_end_itself")
def log_and_end_itself(self: Any, gate: str, task_id: str = "") -> None:
    """End the attempt in the body, and run on."""
    log.info("before its end")
    task_service.update_task_status(self.db, task_id, "succeeded")
    await_gate(gate)


@celery_app.task(bind=True, name="tests.log_and_end_behind_a_lock")
def log_and_end_behind_a_lock(self: Any, task_id: str = "") -> None:
    """End the attempt in the transaction that has locked its row before."""
    task_service.update_task_progress(self.db, task_id, 50, commit=False)
    log.info("before its end")
    task_service.update_task_status(self.db, task_id, "succeeded")


@celery_app.task(bind=True, name="tests.log_in_threads")
async def log_in_threads(self: Any) -> None:
    """Log in each kind of thread."""

    async def one(number: int) -> None:
        log.info("task %d", number)

    await asyncio.gather(one(1), asyncio.create_task(one(2)))
    await asyncio.to_thread(log.info, "to_thread")
    thread = threading.Thread(target=log.info, args=("thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(log.info, "executor").result()


@celery_app.task(bind=True, name="tests.log_many")
def log_many(self: Any, number: int, size: int = 0, pause: float = 0) -> None:
    """So many lines as fast as possible, or with this many seconds after each hundred."""
    for each in range(number):
        log.info("%d %s", each, "x" * size)
        if pause and each % 100 == 0:
            time.sleep(pause)
