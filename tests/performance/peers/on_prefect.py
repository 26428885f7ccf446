"""Background tasks of Prefect, whose server keeps a row for each run: `python on_prefect.py serve`, two at a time."""

import timed
from prefect import task


@task
def noop() -> None:
    """Nothing."""


@task
def stamp(path: str) -> None:
    timed.note_time(path)


submit_noop, submit_stamp = noop.delay, stamp.delay
