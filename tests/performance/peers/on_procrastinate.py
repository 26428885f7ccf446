"""procrastinate: a row of PostgreSQL for each task, taken one by one with LISTEN and SKIP LOCKED.

`procrastinate -a on_procrastinate.app schema --apply` makes its tables; two of `procrastinate -a on_procrastinate.app
worker --concurrency 1` run its tasks.
"""

import os

import procrastinate
import timed

BATCH = 500

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_DATABASE"]))


@app.task(name="noop")
def noop() -> None:
    """Nothing."""


@app.task(name="stamp")
def stamp(path: str) -> None:
    timed.note_time(path)


def fill(count: int) -> None:
    """Submit no-op tasks, some hundred in each statement."""
    for start in range(0, count, BATCH):
        noop.configure().batch_defer(*[{}] * min(BATCH, count - start))


def submit_stamp(path: str) -> None:
    stamp.defer(path=path)


opened = app.open
