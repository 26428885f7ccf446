"""`python -m tests.performance.fill COUNT USER TASK PRIORITY ARGUMENT…`: pending tasks, with their messages sent.

A process of its own, so that neither its memory nor its connections are those of what is measured.
"""

import ast
import sys
from collections.abc import Sequence
from uuid import UUID

from app.db.session import SessionLocal
from app.messaging.publisher import publisher
from app.schemas.task import TaskCreate
from app.services.task_service import task_service

BATCH = 500
SECONDS = 1800.0


def main(words: Sequence[str]) -> int:
    count, user, name, priority, *arguments = words
    fields = {
        "name": name, "task_type": "performance_test", "celery_task_name": name, "priority": priority,
        "args": [ast.literal_eval(word) for word in arguments],
    }  # fmt: skip
    wanted = [TaskCreate.model_validate(fields)] * int(count)
    with SessionLocal() as db:
        for start in range(0, len(wanted), BATCH):
            task_service.create_tasks(db, wanted[start : start + BATCH], UUID(user))
            db.expunge_all()
            # Not faster than they are sent: a row that waits for its message past the grace time gets another.
            publisher.flush(SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
