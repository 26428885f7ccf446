"""Tables. Importing this package imports each of its modules, and so fills `Base.metadata`."""

from importlib import import_module
from pkgutil import iter_modules

from app.models import (
    task_count as _task_count,  # noqa: F401 (the baselines have its tables first)
    task_stats as _task_stats,  # noqa: F401 (and then its tables)
)
from app.models.audit import AuditRecord
from app.models.auth import ApiKey, LoginBlock, LoginSession, RefreshToken, ThrottleCount
from app.models.bulk import BulkBatch, BulkDeed
from app.models.error_group import ErrorGroup, ErrorState
from app.models.limit import DailyCount, Limit, LimitPlace
from app.models.outbox import OutboxRow
from app.models.queue import ClaimedTurn, ClaimHold, HoldKind, UserTurn
from app.models.schedule import Schedule, ScheduleRun
from app.models.stored_file import FileUse, StoredFile
from app.models.task import IdempotencyKey, Task, TaskAttempt, TaskDependency, TaskLog, TaskOutput, TaskStep
from app.models.user import RecoveryCode, SecondFactor, User
from app.models.webhook import ClosedLane, WebhookDelivery, WebhookEndpoint, WebhookRecovery
from app.models.worker import MaintenanceLease, Period, WorkerProcess
from app.models.workflow import Workflow, WorkflowNode

__all__ = [
    "ApiKey",
    "AuditRecord",
    "BulkBatch",
    "BulkDeed",
    "ClaimHold",
    "ClaimedTurn",
    "ClosedLane",
    "DailyCount",
    "ErrorGroup",
    "ErrorState",
    "FileUse",
    "HoldKind",
    "IdempotencyKey",
    "Limit",
    "LimitPlace",
    "LoginBlock",
    "LoginSession",
    "MaintenanceLease",
    "OutboxRow",
    "Period",
    "RecoveryCode",
    "RefreshToken",
    "Schedule",
    "ScheduleRun",
    "SecondFactor",
    "StoredFile",
    "Task",
    "TaskAttempt",
    "TaskDependency",
    "TaskLog",
    "TaskOutput",
    "TaskStep",
    "ThrottleCount",
    "User",
    "UserTurn",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookRecovery",
    "WorkerProcess",
    "Workflow",
    "WorkflowNode",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
