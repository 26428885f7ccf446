"""Has bodies stay in a native call that no signal interrupts, for as long as a file is there: loaded with TASK_MODULES.

In the service's own tasks, the function that `STUCK_IN` names stays in it.
"""

import asyncio
import ctypes
import importlib
import os
import pkgutil
import threading
from functools import wraps
from pathlib import Path
from typing import Any

from celery import signals

from app.celery_app import celery_app
from tests.support.example_tasks import await_gate, note

STUCK_WHILE = "STUCK_WHILE"
"""The variable with the path of the file. Beside it a file with `.stuck` says that a body is in the call."""

# Each of the catalogue, with what it calls: in the thread of a query, or in the main thread.
STUCK_IN = {
    "app.tasks.common_tasks.export_tasks": "app.tasks.table_tasks:_convert",
    "app.tasks.common_tasks.fetch_to_file": "app.tasks.common_tasks:Download",
    "app.tasks.common_tasks.fetch_url": "app.tasks.common_tasks:make_fetch",
    "app.tasks.common_tasks.long_running_task": "app.tasks.common_tasks:_wait_until",
    "app.tasks.common_tasks.profile_data": "polars:LazyFrame.collect_schema",
    "app.tasks.common_tasks.transform_data": "app.tasks.data.transformation:sink",
    "app.tasks.high_priority_tasks.send_email": "app.tasks.mails:deliver",
    "app.tasks.high_priority_tasks.send_webhook": "app.tasks.high_priority_tasks:make_webhook",
    "app.tasks.model_tasks.evaluate_model": "app.tasks.learning.predictions:evaluate",
    "app.tasks.model_tasks.predict": "app.tasks.learning.predictions:predict",
    "app.tasks.model_tasks.train_classifier": "app.tasks.model_tasks:_load",
    "app.tasks.model_tasks.train_model": "polars:LazyFrame.collect_schema",
}


def stay() -> None:
    """Never come back: wait natively for a lock that this thread holds. Other threads run meanwhile."""
    mutex, native = ctypes.create_string_buffer(256), ctypes.CDLL(None)
    native.pthread_mutex_init(mutex, None)
    for _ in range(2):
        native.pthread_mutex_lock(mutex)


def _stay_if_told() -> None:
    told = Path(os.environ[STUCK_WHILE])
    if told.exists():
        told.with_suffix(".stuck").touch()
        stay()


@signals.worker_init.connect(weak=False)
def _import_polars(**_: Any) -> None:
    """Import it before the pool forks: in a fresh process that takes longer than the limits of the tests."""
    if STUCK_WHILE in os.environ:
        importlib.import_module("app.tasks.data.engine")


@signals.task_prerun.connect(weak=False)
def _be_stuck(task: Any, **_: Any) -> None:
    """Replace the function of this task, once, in the process that runs it."""
    place = STUCK_IN.get(task.name)
    if place is None or STUCK_WHILE not in os.environ:
        return
    owner_name, _, name = place.rpartition("." if place.endswith("collect_schema") else ":")
    owner = pkgutil.resolve_name(owner_name)
    real = getattr(owner, name)
    if hasattr(real, "__wrapped__"):
        return

    @wraps(real)
    def stuck(*args: Any, **kwargs: Any) -> Any:
        _stay_if_told()
        return real(*args, **kwargs)

    setattr(owner, name, stuck)


@celery_app.task(name="tests.stuck", soft_time_limit=1)
def stuck(ledger: str) -> None:
    """Stay in the call, beyond the soft time limit."""
    note(ledger, os.getpid())
    stay()


@celery_app.task(bind=True, name="tests.stuck_query", soft_time_limit=1)
def stuck_query(self: Any, ledger: str) -> None:
    """Have a query stay in the call, beyond the soft time limit."""
    from app.tasks.data import engine

    engine.GRACE_SECONDS = 0.2
    note(ledger, os.getpid())
    engine.run(stay, [], lambda: self.update_progress(None))


@celery_app.task(name="tests.wait_long", soft_time_limit=1)
async def wait_long(ledger: str) -> None:
    """Wait beyond the soft time limit, and say whether that goes on."""
    note(ledger, os.getpid())
    await asyncio.sleep(1.5)
    note(ledger, "went on")


@celery_app.task(name="tests.wait_longer")
async def wait_longer() -> None:
    """Have the loop of the process run for longer than `wait_long` waits."""
    await asyncio.sleep(1)


@celery_app.task(name="tests.leave_thread")
def leave_thread(ledger: str, gate: str = "") -> None:
    """Have a thread stay in the call. Wait for the gate, where there is one."""
    threading.Thread(target=stay, name="left-behind", daemon=True).start()
    note(ledger, os.getpid())
    if gate:
        await_gate(gate)


@celery_app.task(name="tests.leave_call")
async def leave_call(ledger: str) -> None:
    """Have a thread of asyncio stay in the call."""
    call = asyncio.get_running_loop().run_in_executor(None, stay)
    note(ledger, os.getpid())
    await call


@celery_app.task(name="tests.await_call")
async def await_call(ledger: str) -> None:
    """Leave a thread of asyncio that waits for its next call."""
    await asyncio.to_thread(note, ledger, os.getpid())
    await asyncio.Event().wait()
