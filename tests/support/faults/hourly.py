"""Two periodic tasks of a user, loaded with TASK_MODULES: entries of `beat_schedule` that are due each hour."""

import os
from datetime import timedelta

from app.celery_app import celery_app

MODULE = "tests.support.faults.hourly"
NAMES = ("purge_finished_tasks", "purge_expired_logins")

if MODULE in os.environ.get("TASK_MODULES", ""):
    for name in NAMES:
        celery_app.conf.beat_schedule[name] = {
            "task": f"app.tasks.common_tasks.{name}",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        }
