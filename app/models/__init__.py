"""Tables. Importing this package fills `Base.metadata`."""

from app.models import task_count as _task_count  # noqa: F401 (its tables)
from app.models.api_key import ApiKey
from app.models.audit import AuditRecord
from app.models.daily_count import DailyCount
from app.models.idempotency import IdempotencyKey
from app.models.login import LoginFailures, LoginSession, RefreshToken
from app.models.maintenance import MaintenanceLease
from app.models.period import Period
from app.models.task import Task, TaskAttempt
from app.models.user import User
from app.models.worker import WorkerProcess

__all__ = [
    "ApiKey",
    "AuditRecord",
    "DailyCount",
    "IdempotencyKey",
    "LoginFailures",
    "LoginSession",
    "MaintenanceLease",
    "Period",
    "RefreshToken",
    "Task",
    "TaskAttempt",
    "User",
    "WorkerProcess",
]
