"""Tables. Importing this package imports each of its modules, and so fills `Base.metadata`."""

from importlib import import_module
from pkgutil import iter_modules

from app.models import (
    task_count as _task_count,  # noqa: F401 (the baselines have its tables first)
    task_stats as _task_stats,  # noqa: F401 (and then its tables)
)
from app.models.audit import AuditRecord as AuditRecord
from app.models.auth import (
    ApiKey as ApiKey,
    LoginBlock as LoginBlock,
    LoginSession as LoginSession,
    RefreshToken as RefreshToken,
    ThrottleCount as ThrottleCount,
)
from app.models.bulk import BulkBatch as BulkBatch, BulkDeed as BulkDeed
from app.models.error_group import ErrorGroup as ErrorGroup, ErrorState as ErrorState
from app.models.limit import DailyCount as DailyCount, Limit as Limit, LimitPlace as LimitPlace
from app.models.outbox import OutboxRow as OutboxRow
from app.models.queue import (
    ClaimedTurn as ClaimedTurn,
    ClaimHold as ClaimHold,
    HoldKind as HoldKind,
    UserTurn as UserTurn,
)
from app.models.schedule import Schedule as Schedule, ScheduleRun as ScheduleRun
from app.models.stored_file import FileUse as FileUse, StoredFile as StoredFile
from app.models.task import (
    IdempotencyKey as IdempotencyKey,
    Task as Task,
    TaskAttempt as TaskAttempt,
    TaskDependency as TaskDependency,
    TaskLog as TaskLog,
    TaskOutput as TaskOutput,
    TaskStep as TaskStep,
)
from app.models.user import RecoveryCode as RecoveryCode, SecondFactor as SecondFactor, User as User
from app.models.webhook import (
    ClosedLane as ClosedLane,
    WebhookDelivery as WebhookDelivery,
    WebhookEndpoint as WebhookEndpoint,
    WebhookRecovery as WebhookRecovery,
)
from app.models.worker import MaintenanceLease as MaintenanceLease, Period as Period, WorkerProcess as WorkerProcess
from app.models.workflow import Workflow as Workflow, WorkflowNode as WorkflowNode

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
