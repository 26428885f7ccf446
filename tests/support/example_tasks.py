"""Tasks for the tests that run real workers, loaded with TASK_MODULES. Each does one thing, and says so in a ledger.

A ledger is a file that lives outside our database: one line for each start of a body, so a test can tell what really
ran from what the rows say. A gate is a file whose appearance lets a body go on: no test needs a sleep.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from pydantic import BaseModel
from sqlalchemy import select

from app.celery_app import SQLAlchemyTask, celery_app
from app.models.task import Task
from app.services.task_service import task_service

NAP = 0.02


@dataclass
class Point:
    x: int
    at: datetime
    id: UUID


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# JSON, what can be made JSON, and what cannot.
RESULTS: dict[str, Any] = {
    "dataclass": Point(3, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UUID(int=7)),
    "exact": {"big": 10**30, "float": 1e22, "zero": -0.0, "tiny": 5e-324, "text": "数据 ✓ \0", "none": None},
    "nan": float("nan"),
    "infinity": [float("inf")],
    "object": object(),
    "surrogate": "\ud800",
    "surrogate_key": {"\udc00": 1},
    "deep": _nested(400),
    "deeper": _nested(5000),
    "huge_int": 10**5000,
    "set": {3},
    "int_keys": {1: "one"},
    "bytes": b"\xff",
}


def note(ledger: str, line: object = "") -> int:
    """Append a line in one write; how many there are now."""
    with Path(ledger).open("a+", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        file.seek(0)  # in the same file: a test that has seen the line may have removed it
        return len(file.readlines())


def await_gate(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(NAP)


@celery_app.task(bind=True, name="tests.echo")
def echo(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Give everything back."""
    return {"args": list(args), "kwargs": kwargs}


class Order(BaseModel):
    number: int
    currency: str = "EUR"


@celery_app.task(bind=True, name="tests.invoice")
def invoice(self: Any, order: Order, day: date, *, ledger: str) -> dict[str, Any]:
    """Tell what the body got."""
    note(ledger, f"{order!r} {day!r}")
    return {"order": order, "weekday": day.strftime("%A")}


@celery_app.task(bind=True, name="tests.ship")
def ship(self: Any, orders: list[Order], at: datetime) -> dict[str, Any]:
    """Give back what a form of rows and times has sent."""
    return {"orders": orders, "at": at}


@celery_app.task(bind=True, name="tests.hold")
def hold(self: Any, gate: str, ledger: str, task_id: str = "none") -> dict[str, Any]:
    """Run until the gate opens, or until it is cancelled."""
    note(ledger, os.getpid())
    self.update_progress(40, {"step": 2, "pid": os.getpid()})
    while not Path(gate).exists():
        self.update_progress(None)
        time.sleep(NAP)
    return {"task_id": task_id, "pid": os.getpid()}


@celery_app.task(bind=True, name="tests.talk")
def talk(self: Any, gate: str) -> None:
    """Log a line before the gate opens, and print one behind it; emit texts and JSON at both places."""
    logging.getLogger("tests.talk").info("before the gate")
    self.emit("The words be")
    await_gate(gate)
    self.emit("fore and behind")
    self.emit({"rows": 3}, stream="counts")
    print("behind the gate")  # noqa: T201


@celery_app.task(bind=True, name="tests.say_and_fail")
def say_and_fail(self: Any, words: str) -> None:
    """Say it wherever a body can: in its log, what it prints and emits, its progress and its error."""
    logging.getLogger(words).warning(words, extra={"field": words})
    print(words)  # noqa: T201
    self.emit(words)
    self.emit({words: words}, stream=words)
    self.update_progress(50, {words: words})
    raise ValueError(words)


@celery_app.task(bind=True, name="tests.hold_deaf")
def hold_deaf(self: Any, gate: str, ledger: str, answer: Any = None) -> Any:
    """Run until the gate opens, without ever asking whether it should."""
    note(ledger, os.getpid())
    await_gate(gate)
    return answer


@celery_app.task(bind=True, name="tests.take_memory")
def take_memory(self: Any, ledger: str, how: str) -> int:
    """Take 400 MiB piece by piece, by Python or by native code that asks for it itself, and keep them for a minute."""
    note(ledger, os.getpid())
    kept: list[Any] = []
    for _ in range(25):
        if how == "natively":
            import polars as pl

            kept.append(pl.repeat(1.0, 2**21, eager=True))
        else:
            kept.append(bytearray(2**24))
        time.sleep(0.01)
    time.sleep(60)
    return len(kept)


@celery_app.task(bind=True, name="tests.hold_each")
def hold_each(self: Any, gate: str, ledger: str) -> int:
    """The same with a gate for each start: `<gate>-1`, `<gate>-2`, …"""
    start = note(ledger, os.getpid())
    await_gate(f"{gate}-{start}")
    return start


@celery_app.task(bind=True, name="tests.hold_deaf_and_fail")
def hold_deaf_and_fail(self: Any, gate: str, ledger: str) -> None:
    """The same, and fail."""
    note(ledger, os.getpid())
    await_gate(gate)
    raise ValueError("behind the gate")


@celery_app.task(bind=True, name="tests.note_down")
def note_down(self: Any, ledger: str, line: str = "") -> int:
    """One line, no more."""
    return note(ledger, line)


@celery_app.task(bind=True, name="tests.note_process")
def note_process(self: Any, ledger: str) -> None:
    """One line with the number of the process."""
    note(ledger, os.getpid())


@celery_app.task(bind=True, name="tests.note_time")
def note_time(self: Any, ledger: str, task_id: str = "none") -> None:
    """One line with the time at which the body began, then a millisecond."""
    note(ledger, f"{task_id} {time.time()}")
    time.sleep(0.001)


@celery_app.task(bind=True, name="tests.limited", rate_limit="2/s")
def limited(self: Any, ledger: str, task_id: str = "none") -> None:
    """One line with the time at which the body began."""
    note(ledger, f"{task_id} {time.time()}")


@celery_app.task(bind=True, name="tests.tell_task_id")
def tell_task_id(self: Any, ledger: str, task_id: str | None = None) -> None:
    """Note down the id that the service has filled in."""
    note(ledger, task_id)


@celery_app.task(bind=True, name="tests.fail_until")
def fail_until(self: Any, ledger: str, succeed_at: int = 3) -> int:
    """Fail until the start of this number."""
    start = note(ledger, time.time())
    if start < succeed_at:
        raise ValueError(f"start {start}")
    return start


@celery_app.task(bind=True, name="tests.retry_itself", default_retry_delay=0)
def retry_itself(self: Any, ledger: str, succeed_at: int = 3) -> dict[str, Any]:
    """`self.retry()` until the start of this number."""
    start = note(ledger, time.time())
    if start < succeed_at:
        raise self.retry(exc=ValueError(f"start {start}"))
    return {"start": start, "retries": self.request.retries}


@celery_app.task(bind=True, name="tests.retry_with", default_retry_delay=0)
def retry_with(self: Any, number: int, following: Any = None, **more: Any) -> Any:
    """`self.retry(args=…)` once, with other arguments."""
    if following is not None:
        raise self.retry(args=[following], kwargs={"said": "again"}, countdown=0)
    return {"number": number, **more}


@celery_app.task(bind=True, name="tests.retry_with_what_is_not_json")
def retry_with_what_is_not_json(self: Any) -> None:
    """`self.retry(args=…)` with an object that no row can hold."""
    raise self.retry(args=[object()], countdown=0)


@celery_app.task(bind=True, name="tests.retry_at_the_end_of_time")
def retry_at_the_end_of_time(self: Any) -> None:
    """`self.retry(countdown=…)` beyond every calendar."""
    raise self.retry(countdown=1e300)


@celery_app.task(
    bind=True,
    name="tests.retry_automatically",
    autoretry_for=(ConnectionError,),
    max_retries=2,
    retry_backoff=False,
    default_retry_delay=0,
)
def retry_automatically(self: Any, ledger: str) -> None:
    """Always fail with a ConnectionError."""
    raise ConnectionError(f"start {note(ledger)}")


@celery_app.task(bind=True, name="tests.soft_limit", soft_time_limit=1)
def soft_limit(self: Any, gate: str, clean_up: bool = False) -> str:
    """Overrun a soft limit of a second; with `clean_up`, answer in time."""
    try:
        await_gate(gate)
    except SoftTimeLimitExceeded:
        if not clean_up:
            raise
    return "cleaned up"


@celery_app.task(bind=True, name="tests.hard_limit", time_limit=1)
def hard_limit(self: Any, gate: str, ledger: str) -> None:
    """Overrun a hard limit of a second."""
    note(ledger, os.getpid())
    await_gate(gate)


@celery_app.task(bind=True, name="tests.kill_itself")
def kill_itself(self: Any, ledger: str, times: int = 99) -> int:
    """SIGKILL to its own process, so many times."""
    start = note(ledger)
    if start <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return start


@celery_app.task(bind=True, name="tests.kill_itself_once", rerun_lost=False)
def kill_itself_once(self: Any, ledger: str) -> None:
    """The same, for a task that must not run again."""
    note(ledger)
    os.kill(os.getpid(), signal.SIGKILL)


@celery_app.task(bind=True, name="tests.return_result")
def return_result(self: Any, kind: str) -> Any:
    """One of RESULTS."""
    return RESULTS[kind]


@celery_app.task(bind=True, name="tests.report_detail")
def report_detail(self: Any, kind: str, gate: str) -> str:
    """One of RESULTS as the detail of its progress; then wait for the gate."""
    self.update_progress(10, RESULTS[kind])
    await_gate(gate)
    return "reported"


@celery_app.task(bind=True, name="tests.asynchronous")
async def asynchronous(self: Any, gate: str, task_id: str | None = None) -> dict[str, Any]:
    """An `async def` body that uses everything a body may."""
    self.update_progress(30, {"from": "a coroutine"})
    while not Path(gate).exists():  # noqa: ASYNC240 (nobody else is on this loop)
        await asyncio.sleep(NAP)
        self.update_progress(None)
    async with asyncio.timeout(5):
        one = await asyncio.to_thread(lambda: 1)
    return {"one": one, "seen": str(self.db.scalar(select(Task.status).where(Task.id == UUID(task_id))))}


@celery_app.task(bind=True, name="tests.cancel_its_coroutine")
async def cancel_its_coroutine(self: Any, ledger: str) -> None:
    """Leave with asyncio's CancelledError, as a body does that awaits a cancelled future."""
    note(ledger)
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@celery_app.task(bind=True, name="tests.end_itself")
def end_itself(self: Any, status: str, then_raise: bool = False, task_id: Any = None) -> str:
    """`update_task_progress` and `update_task_status` in the body, as the owner's README has it."""
    task_service.update_task_progress(self.db, task_id, 50, {"status": "processing", "step": 2})
    result = {"result": "the body's own"} if status == "succeeded" else None
    task_service.update_task_status(self.db, task_id, status, 70, result)
    if then_raise:
        raise ValueError("after the end")
    return "the return value, which does not count"


class Hooked(SQLAlchemyTask):
    """Every hook writes down what it was given; the ledger is the first argument, which only the row knows."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        super().before_start(task_id, args, kwargs)
        note(args[0], f"before_start {args[1:]} {kwargs}")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        row = task_service.get_task(self.db, self.request.attempt_run.task_id)
        note(args[0], f"on_success {args[1:]} {kwargs} {retval}, the row {row.status}")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: dict[str, Any], einfo: Any) -> None:
        note(args[0], f"on_failure {args[1:]} {kwargs} {exc!r}")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: dict[str, Any], einfo: Any) -> None:
        note(args[0], f"on_retry {args[1:]} {kwargs}")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        note(args[0], f"after_return {status} {args[1:]} {kwargs}")


@celery_app.task(bind=True, base=Hooked, name="tests.hooked", default_retry_delay=0)
def hooked(self: Any, ledger: str, how: str, more: int = 0) -> str:
    """Succeed, fail, or retry once and then succeed."""
    if how == "fail":
        raise ValueError(how)
    if how == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0)
    return how


class Stumbling(SQLAlchemyTask):
    """Its `before_start` fails after the claim."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        super().before_start(task_id, args, kwargs)
        raise ValueError("stumbled before the start")


@celery_app.task(bind=True, base=Stumbling, name="tests.stumble")
def stumble(self: Any) -> None:
    """Never gets to its body."""


@celery_app.task(bind=True, name="tests.deaf")
def deaf(self: Any, ledger: str, how: str) -> None:
    """Never end, and never ask: asleep, in a tight loop, in a C function, or catching whatever comes."""
    note(ledger, os.getpid())
    try:
        while True:
            DEAF[how]()
    finally:
        note(ledger, "cleaned up")


def _swallow() -> None:
    with contextlib.suppress(BaseException):
        time.sleep(3600)


DEAF = {
    "asleep": lambda: time.sleep(3600),
    "in a loop": lambda: None,
    "in a C function": lambda: sum(range(10**15)),
    "swallowing": _swallow,
}


@celery_app.task(bind=True, name="tests.deaf_coroutine")
async def deaf_coroutine(self: Any, ledger: str) -> None:
    """Await what never comes."""
    note(ledger, os.getpid())
    try:
        await asyncio.Event().wait()
    finally:
        note(ledger, "cleaned up")


@celery_app.task(bind=True, name="tests.apply_another")
def apply_another(self: Any, gate: str, ledger: str) -> int:
    """Call another task with `apply()`, and go on until the gate opens."""
    note(ledger, os.getpid())
    echo.apply()
    await_gate(gate)
    return 1


@celery_app.task(bind=True, name="tests.end_itself_and_go_on")
def end_itself_and_go_on(self: Any, gate: str, ledger: str, task_id: Any = None) -> None:
    """End its own attempt, then do something that takes long."""
    task_service.update_task_status(self.db, task_id, "succeeded", 100, "said")
    note(ledger, os.getpid())
    await_gate(gate)
    note(ledger, "went on to its end")
