"""Tasks that keep a ledger outside the database, loaded with TASK_MODULES: what really ran, whatever the rows say.

A line is JSON, written with one append: the task's id and attempt, `event`, the process and the time. Events: `start`;
then `end` when the body has done its work, `cancelled`, `lost` (another attempt holds the task), `handed_back` (its
worker shuts down) or `failed`. A body that died has a start alone.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from app.celery_app import celery_app
from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled
from app.services.execution.attempts import current_attempt
from tests.support.ledger import append_line

NAP = 0.02
EVENTS = {TaskCancelled: "cancelled", AttemptLost: "lost", AttemptHandedBack: "handed_back"}


def note(ledger: str, event: str) -> None:
    current = current_attempt.get()
    assert current is not None, "a ledger task runs with a record"
    line = {"task_id": str(current.task_id), "attempt": current.attempt, "event": event}
    append_line(ledger, json.dumps({**line, "pid": os.getpid(), "time": time.time()}))


@contextmanager
def noted(ledger: str) -> Iterator[None]:
    """`start`, and how it ended."""
    note(ledger, "start")
    try:
        yield
    except BaseException as error:
        note(ledger, EVENTS.get(type(error), "failed"))
        raise
    note(ledger, "end")


@celery_app.task(bind=True, name="ledger.work")
def work(self: Any, ledger: str, seconds: float = 0.0, steps: int = 1, fail: bool = False) -> int:
    """Work for so long in so many steps, reporting each; then fail, or return the attempt."""
    with noted(ledger):
        for _ in self.track(range(steps)):
            time.sleep(seconds / steps)
        if fail:
            raise ValueError("as was asked")
    return _attempt()


@celery_app.task(bind=True, name="ledger.placed")
def placed(self: Any, ledger: str, places: int, seconds: float) -> int:
    """Hold one of so many places for so long. The file `…-crowded` names the attempts that found none free.

    A place is a lock of a file, which the kernel takes back when the process ends, however it does.
    """
    with noted(ledger), ExitStack() as opened:
        files = [opened.enter_context(Path(f"{ledger}-place-{number}").open("w")) for number in range(places)]
        if not any(_locks(file) for file in files):
            append_line(f"{ledger}-crowded", f"{self.request.attempt_run.task_id} {_attempt()}")
        time.sleep(seconds)
    return _attempt()


def _locks(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@celery_app.task(bind=True, name="ledger.gate")
def gated(self: Any, ledger: str, gate: str) -> int:
    """Run until the gate opens, asking all the time whether it should; `{attempt}` in its name is this attempt."""
    return _wait(ledger, gate, ask=lambda: self.update_progress(None))


@celery_app.task(bind=True, name="ledger.deaf")
def deaf(self: Any, ledger: str, gate: str) -> int:
    """Run until the gate opens, and never ask; `{attempt}` in its name is this attempt."""
    return _wait(ledger, gate, ask=lambda: None)


@celery_app.task(bind=True, name="ledger.poison")
def poison(self: Any, ledger: str, times: int = 99) -> int:
    """SIGKILL to its own process in the first so many attempts."""
    with noted(ledger):
        if _attempt() <= times:
            os.kill(os.getpid(), signal.SIGKILL)
    return _attempt()


@celery_app.task(bind=True, name="ledger.steps")
def steps(self: Any, ledger: str, number: int = 10, end: list[Any] | None = None, gate: str | None = None) -> list[int]:
    """So many steps, each noted in the file `…-steps`. Returns what they gave.

    `end` is how the first attempt ends, the number of the step, and where: before its note, after it, or once the step
    is kept. With `gate`, the last step waits until that is open.
    """
    how, at, where = end or [None, None, None]

    def reached(place: str, each: int) -> None:
        if (each, place) == (at, where) and _attempt() == 1:
            ENDS_OF_A_STEP[how]()

    def work(each: int) -> int:
        reached("before", each)
        append_line(f"{ledger}-steps", f"{self.request.attempt_run.task_id} {each}")
        reached("after", each)
        while gate is not None and each == number and not Path(gate).exists():
            time.sleep(NAP)
        return each

    with noted(ledger):
        results = list[int]()
        for each in range(1, number + 1):
            results.append(self.step(f"step {each}", work, each))
            reached("kept", each)
    return results


def _raise() -> None:
    raise ValueError("as was asked")


ENDS_OF_A_STEP: dict[str | None, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "raise": _raise,
    "hang": lambda: time.sleep(600),  # until a time limit
}


@celery_app.task(bind=True, name="ledger.quick")
def quick(self: Any, ledger: str, die: int = 0, gate: str | None = None) -> int:
    """Be short, so that several are claimed at once; unless it dies in its first attempts, or waits for a gate."""
    with noted(ledger):
        if _attempt() <= die:
            os.kill(os.getpid(), signal.SIGKILL)
        while gate is not None and not Path(gate).exists():
            time.sleep(NAP)
    return _attempt()


@celery_app.task(bind=True, name="ledger.spin")
def spin(self: Any, ledger: str) -> None:
    """A tight loop without end."""
    with noted(ledger):
        while True:
            pass


@celery_app.task(bind=True, name="ledger.swallow")
def swallow(self: Any, ledger: str, megabytes: int, gate: str) -> int:
    """Take this much memory, page by page, and keep it until the gate opens."""
    with noted(ledger):
        taken = [bytearray(b"x" * (1 << 20)) for _ in range(megabytes)]
        while not Path(gate).exists():
            time.sleep(NAP)
    return len(taken)


def _wait(ledger: str, gate: str, ask: Callable[[], None]) -> int:
    opening = Path(gate.replace("{attempt}", str(_attempt())))
    with noted(ledger):
        while not opening.exists():
            ask()
            time.sleep(NAP)
    return _attempt()


def _attempt() -> int:
    current = current_attempt.get()
    assert current is not None
    return current.attempt
