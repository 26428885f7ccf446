"""`python -m tests.performance.fill COUNT USER TASK PRIORITY ARGUMENT…`: pending tasks, with slots woken.

With FILL_LIMIT in the environment they name that limit; with FILL_KEYS beside it, so many keys of it in turn. With
FILL_WEBHOOK their ends go to that URL.

A process of its own, so that neither its memory nor its connections are those of what is measured.
"""

import ast
import os
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any
from uuid import UUID

from app.db.session import SessionLocal
from app.messaging import wakeups
from app.schemas.task import TaskCreate
from app.services.task_service import task_service

BATCH = 500
SECONDS = 1800.0


def main(words: Sequence[str]) -> int:
    count, user, name, priority, *arguments = words
    fields: dict[str, Any] = {
        "name": name, "task_type": "performance_test", "celery_task_name": name, "priority": priority,
        "args": [ast.literal_eval(word) for word in arguments],
    }  # fmt: skip
    if limit := os.environ.get("FILL_LIMIT"):
        fields["limit"] = limit
    if url := os.environ.get("FILL_WEBHOOK"):
        fields["webhook_url"] = url
    keys = int(os.environ.get("FILL_KEYS") or 0)
    kinds = [fields | {"limit_key": f"key-{number}"} for number in range(keys)] or [fields]
    wanted = list(islice(cycle([TaskCreate.model_validate(kind) for kind in kinds]), int(count)))
    with SessionLocal() as db:
        for start in range(0, len(wanted), BATCH):
            task_service.create_tasks(db, wanted[start : start + BATCH], UUID(user))
            db.expunge_all()
        wakeups.flush(SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
