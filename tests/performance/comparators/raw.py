"""Plain Celery with the options of our own workers: early acks, no prefetch; results off, or in a database.

`RAW_BROKER` names its broker, `RAW_BACKEND` its result backend, which brings `track_started` along.
"""

import os
import time

from celery import Celery

from tests.support.ledger import append_line

NOOP, STAMP, LATE = "raw.noop", "raw.stamp", "raw.late"
_backend = os.environ.get("RAW_BACKEND") or None

app = Celery("raw", broker=os.environ.get("RAW_BROKER", "memory://"), backend=_backend)
app.conf.update(
    task_acks_late=False,
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=_backend is None,
    task_track_started=_backend is not None,
    task_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
)


@app.task(name=NOOP)
def noop() -> None:
    """Nothing."""


@app.task(name="raw.total")
def total(results: list[None]) -> int:
    """The body of a chord: how many results there are."""
    return len(results)


@app.task(name=STAMP)
def stamp(path: str) -> None:
    """When the first line of the body ran, by the machine's clock."""
    append_line(path, repr(time.time()))


@app.task(name=LATE)
def late(path: str, due: float) -> None:
    """How many seconds after it was due its body ran."""
    append_line(path, repr(time.time() - due))
