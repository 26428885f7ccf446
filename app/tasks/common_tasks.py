"""Tasks for everybody, and the periodic housekeeping that beat starts."""

import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from app.celery_app import celery_app
from app.core.config import get_settings
from app.services import idempotency
from app.services.auth_service import auth_service
from app.services.task_service import task_service

# How often a waiting body looks up, so that a cancellation is seen within a second whatever the step.
LONGEST_NAP_SECONDS = 0.5


@celery_app.task(bind=True, name="app.tasks.common_tasks.long_running_task")
def long_running_task(self: Any, duration: float, steps: int = 100, **kwargs: Any) -> dict[str, Any]:
    """Take a given time, in equal steps: the task to try the service with.

    Waits `duration` seconds in `steps` steps, reporting progress, and answers how long it really took. Any other
    keyword argument is handed back in the result.
    """
    if duration < 0 or steps < 1:
        raise ValueError("duration must not be negative, and there is at least one step")
    started = time.monotonic()
    for step in self.track(range(steps)):
        _wait_until(self, started + duration * (step + 1) / steps)
    return {"duration": duration, "steps": steps, "elapsed": round(time.monotonic() - started, 3), "parameters": kwargs}


def _wait_until(task: Any, moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_NAP_SECONDS))
        if left > LONGEST_NAP_SECONDS:
            task.update_progress(None)  # only to hear of a cancellation


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_finished_tasks", catalogue=False)
def purge_finished_tasks(self: Any) -> dict[str, int]:
    """Delete the tasks that ended longer ago than RETENTION_DAYS, and expired idempotency keys.

    Started by beat; safe to run twice.
    """
    deleted = task_service.purge_finished(self.db, get_settings().retention_days)
    return {"deleted": deleted, "idempotency_keys": idempotency.prune(self.db)}


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_expired_logins", catalogue=False)
def purge_expired_logins(self: Any) -> dict[str, int]:
    """Delete logins that expired or were revoked a while ago. Started by beat; safe to run twice."""
    total: Counter[str] = Counter()
    while any((removed := asdict(auth_service.purge_expired_logins(self.db))).values()):
        total.update(removed)
    return dict(total)
