"""Celery beat with many entries, one after the other in a span: each an hour apart from itself, as `raw.py` has them.

BEAT_ENTRIES and BEAT_SPAN say how many and in how many seconds; BEAT_BEGIN is when the first one is due, in seconds
since the epoch; BEAT_LEDGER is the file to which each start adds how late it was.
"""

import os
from datetime import UTC, datetime, timedelta

from celery.schedules import schedule

from tests.performance.comparators.raw import LATE, app

HOUR = 3600.0


def entries(number: int, begin: float, span: float, ledger: str) -> dict[str, dict[str, object]]:
    found = {}
    for each in range(number):
        due = begin + each * span / number
        last = datetime.fromtimestamp(due, UTC) - timedelta(seconds=HOUR)
        found[f"entry {each}"] = {
            "task": LATE, "schedule": schedule(HOUR, app=app), "args": [ledger, due], "last_run_at": last,
        }  # fmt: skip
    return found


app.conf.beat_schedule = entries(
    int(os.environ["BEAT_ENTRIES"]), float(os.environ["BEAT_BEGIN"]), float(os.environ["BEAT_SPAN"]),
    os.environ["BEAT_LEDGER"],
)  # fmt: skip
