"""Tasks that emit output, loaded with TASK_MODULES."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from app.celery_app import celery_app
from app.errors import OutputTooLarge
from app.services.task_service import task_service

TOKENS = [f"token {number} " for number in range(1000)]


def await_gate(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.02)


@celery_app.task(bind=True, name="tests.emit_everything")
def emit_everything(self: Any) -> None:
    """Texts and JSON in two streams."""
    for token in TOKENS:
        self.emit(token)
    self.emit({"rows": [1, 2.5, None, "ü\0"]}, "rows")
    self.emit(None, "rows")
    self.emit("line 1\n", stream="stderr")
    self.emit("x" * 100_000 + "ü")


@celery_app.task(bind=True, name="tests.emit_for_a_while")
def emit_for_a_while(self: Any, seconds: float = 1.0) -> int:
    """Emit numbers as JSON, faster than they are written. Returns how many."""
    number, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        self.emit(number, "numbers")
        number += 1
        time.sleep(0.001)
    return number


@celery_app.task(bind=True, name="tests.emit_in_threads")
def emit_in_threads(self: Any) -> None:
    """In threads of the body."""
    threads = [
        threading.Thread(target=lambda name: [self.emit(number, name) for number in range(50)], args=(f"thread {n}",))
        for n in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


@celery_app.task(bind=True, name="tests.emit_in_async")
async def emit_in_async(self: Any) -> None:
    """In tasks of asyncio, and in a thread of its own."""

    async def one(name: str) -> None:
        for number in range(10):
            self.emit(number, name)
            await asyncio.sleep(0)

    await asyncio.gather(one("a"), one("b"), asyncio.to_thread(self.emit, "c", "c"))


@celery_app.task(bind=True, name="tests.emit_and_fail", max_attempts=2, retry_backoff=0.01)
def emit_and_fail(self: Any, gate: str = "") -> None:
    """Emit as the last thing before the failure; the second attempt waits for the gate."""
    if self.request.retries and gate:
        await_gate(gate)
    self.emit(f"attempt {self.request.retries}")
    raise ValueError("the end")


@celery_app.task(bind=True, name="tests.emit_before_and_behind")
def emit_before_and_behind(self: Any, gate: str) -> None:
    """A text, the gate, a text."""
    self.emit("before")
    await_gate(gate)
    self.emit("behind", "late")


@celery_app.task(bind=True, name="tests.emit_until_cancelled")
def emit_until_cancelled(self: Any) -> None:
    """Emit once, and run on until somebody stops it."""
    self.emit("the last words")
    while True:
        self.update_progress(None)
        time.sleep(0.02)


@celery_app.task(bind=True, name="tests.emit_and_die")
def emit_and_die(self: Any, gate: str) -> None:
    """Emit, and be killed behind the gate; in the next attempt, emit and end."""
    if Path(gate).exists():
        self.emit("and again")
        return
    self.emit("the last words")
    await_gate(gate)
    os.kill(os.getpid(), signal.SIGKILL)


@celery_app.task(bind=True, name="tests.emit_and_end_itself")
def emit_and_end_itself(self: Any, task_id: str = "") -> None:
    """End the attempt in the transaction that has locked its row before."""
    task_service.update_task_progress(self.db, task_id, 50, commit=False)
    self.emit("before its end")
    task_service.update_task_status(self.db, task_id, "succeeded")


@celery_app.task(bind=True, name="tests.emit_too_much")
def emit_too_much(self: Any) -> dict[str, Any]:
    """Emit until it is refused; `full` is how many chunks were taken."""
    chunk, taken = "x" * 1000, 0
    try:
        while True:
            self.emit(chunk)
            taken += 1
    except OutputTooLarge as error:
        return {"taken": taken, "error": str(error)}
