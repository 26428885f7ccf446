"""`python -m tests.performance.weaving SHAPE NUMBER USER WAIT`: workflows of no-op tasks, NUMBER of them in all.

SHAPE is `fan` (1 → 998 → 1, or as wide as NUMBER allows), `diamonds` (of four tasks each) or `chain`. With WAIT, prints as
JSON the seconds from the first call to the end of the last task. A process of its own, with the settings of what is measured.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from app.db.session import SessionLocal
from app.messaging import wakeups
from app.schemas.task import MAX_BATCH
from app.services.task_service import task_service
from app.services.workflows.service import workflow_service

POLL_SECONDS = 0.01
SECONDS = 600.0
Tasks = list[dict[str, Any]]


def main(words: Sequence[str]) -> int:
    shape, number, user, waits = words
    with SessionLocal() as db:
        begun = time.perf_counter()
        made = [
            task_service.create_workflow(db, shape, tasks, user_id=UUID(user)).id
            for tasks in SHAPES[shape](int(number))
        ]  # fmt: skip
        while waits != "0" and made:
            if workflow_service.get_workflow(db, made[-1]).finished_at is not None:
                made.pop()
            elif time.perf_counter() - begun > SECONDS:
                raise TimeoutError(f"{len(made)} workflows have not ended after {SECONDS:g} s")
            else:
                time.sleep(POLL_SECONDS)
        sys.stdout.write(f"{time.perf_counter() - begun}\n")
        wakeups.flush(SECONDS)
    return 0


def _task(ref: str, *parents: str) -> dict[str, Any]:
    name = "measured.noop"
    return {
        "ref": ref,
        "name": ref,
        "task_type": "performance_test",
        "celery_task_name": name,
        "depends_on": [*parents],
    }


def _fans(number: int) -> Iterator[Tasks]:
    for first in range(0, number, MAX_BATCH):
        middle = [_task(f"m{at}", "first") for at in range(min(number - first, MAX_BATCH) - 2)]
        yield [_task("first"), *middle, _task("last", *(task["ref"] for task in middle))]


def _diamonds(number: int) -> Iterator[Tasks]:
    diamond = [_task("a"), _task("b", "a"), _task("c", "a"), _task("d", "b", "c")]
    return (diamond for _ in range(number // len(diamond)))


def _chain(number: int) -> Iterator[Tasks]:
    yield [_task("n0"), *(_task(f"n{at}", f"n{at - 1}") for at in range(1, number))]


SHAPES = {"fan": _fans, "diamonds": _diamonds, "chain": _chain}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
