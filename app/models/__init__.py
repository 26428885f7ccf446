"""Tables. Importing this package imports each of its modules, and so fills `Base.metadata`."""

from importlib import import_module
from pkgutil import iter_modules

from app.models import (
    task_count as _task_count,  # noqa: F401 (the baselines have its tables first)
    task_stats as _task_stats,  # noqa: F401 (and then its tables)
)
from app.models.api_key import ApiKey
from app.models.audit import AuditRecord
from app.models.bulk_deed import BulkBatch, BulkDeed
from app.models.claim_hold import ClaimHold, HoldKind
from app.models.daily_count import DailyCount
from app.models.error_group import ErrorGroup, ErrorState
from app.models.idempotency import IdempotencyKey
from app.models.limit import Limit, LimitPlace
from app.models.login import LoginBlock, LoginSession, RefreshToken, ThrottleCount
from app.models.maintenance import MaintenanceLease
from app.models.outbox import OutboxRow
from app.models.period import Period
from app.models.schedule import Schedule, ScheduleRun
from app.models.second_factor import RecoveryCode, SecondFactor
from app.models.stored_file import FileUse, StoredFile
from app.models.task import Task, TaskAttempt
from app.models.task_dependency import TaskDependency
from app.models.task_log import TaskLog
from app.models.task_output import TaskOutput
from app.models.task_step import TaskStep
from app.models.turns import ClaimedTurn, UserTurn
from app.models.user import User
from app.models.webhook import ClosedLane, WebhookDelivery, WebhookEndpoint, WebhookRecovery
from app.models.worker import WorkerProcess
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
