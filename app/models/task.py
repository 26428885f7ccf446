"""The task: its states, its row, its past attempts, what it waits for, keys of requests, and what its bodies leave.

What moves a task out of a state:

    pending    a worker's claim (running); a cancellation, or `expires_at` (revoked)
    running    the end of its attempt (succeeded, failed, or pending for a retry); maintenance or the worker's parent
               process, when the attempt was lost or overran its time limit (pending, failed); whichever of these ends
               an attempt with a requested cancellation (revoked)
    succeeded  nothing
    failed     a retry through the API (pending)
    revoked    a retry through the API (pending)

`transitions` of `app/db/postgresql/` or `app/db/statements/` builds each statement that writes `status`. The CHECKs
below and the trigger of `app/ddl/trigger_rules.py` refuse any other change.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, false, true
from sqlalchemy.orm import Mapped, column_property, mapped_column
from sqlalchemy.types import TypeDecorator

from app.core.ids import new_id
from app.ddl import columns, engines, indexes
from app.ddl.clock import NOW
from app.ddl.engines import WAITS_COLUMN
from app.ddl.indexes import UPDATED_ONCE, task_indexes
from app.ddl.terms import STEP_BYTES

MAX_CRASHES = 3
ACTIVE_KEY_UNTIL_THE_END = """
    CASE WHEN unique_key IS NULL OR finished_at IS NOT NULL THEN active_key IS NULL
    ELSE active_key IS NOT NULL AND active_key = unique_key END
"""


class TaskStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVOKED = "revoked"


TERMINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED})
ACTIVE = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING})
UNSUCCESSFUL = TERMINAL - {TaskStatus.SUCCEEDED}

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.REVOKED}),
    TaskStatus.RUNNING: TERMINAL | {TaskStatus.PENDING},
    TaskStatus.SUCCEEDED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.REVOKED: frozenset({TaskStatus.PENDING}),
}


class TaskPriority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    def is_above(self, other: "TaskPriority") -> bool:
        """Return whether this is the higher priority. `<` and `>` compare the letters."""
        order = list(TaskPriority)
        return order.index(self) > order.index(other)


class OnConflict(StrEnum):
    """What a request does whose `unique_key` another task of the user holds."""

    REJECT = "reject"
    RETURN = "return"
    REPLACE = "replace"


# `due_at` of a task that waits for others: when it is due is not known yet.
NEVER_DUE = datetime(9999, 12, 31, tzinfo=UTC)


class Held(StrEnum):
    """Why no claim may take a task that is due. Such rows stand in no index that a claim reads.

    A newer version of the service may have more of them: this one shows them, and leaves them as they are.
    """

    USER = "user"
    """As many tasks of its user have places as QUOTA_RUNNING_TASKS allows."""
    LIMIT = "limit"
    """It has no place of its limit yet."""
    LIMIT_KEY = "limit_key"
    """Its key of the limit is full: the next of its key goes back to `limit` once a place of the key is free."""
    NAME = "name"
    """No live worker of its queue knows the task."""
    DEPENDENCY = "dependency"
    """A task that it depends on has not ended."""


class WaitingReason(StrEnum):
    """Why a pending task does not run, in this order: the first that holds."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    PAUSED = "paused"
    DEPENDENCY = "dependency"
    LIMIT = "limit"
    NO_WORKER = "no_worker"
    TURN = "turn"


class DependsOn(str):
    """`Task.waits` of a task that waits for others, with their ids."""

    __slots__ = ("blocked_by",)
    blocked_by: list[UUID]

    def __new__(cls, blocked_by: list[UUID]) -> Self:
        reason = super().__new__(cls, WaitingReason.DEPENDENCY.value)
        reason.blocked_by = blocked_by
        return reason


class AttemptOutcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    REVOKED = "revoked"
    WORKER_LOST = "worker_lost"
    HANDED_BACK = "handed_back"


class _Named(TypeDecorator[Any]):
    """A StrEnum kept as its text."""

    impl = columns.Word
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_result_value(self, value: str | None, dialect: object) -> StrEnum | None:
        del dialect
        return None if value is None else self.kind(value)


# For a column whose bytes are counted where pages are cut: of a text, and of what PostgreSQL keeps parsed.
SIZED: dict[str, Any] = {"size": "text"}
SIZED_PARSED: dict[str, Any] = {"size": "parsed"}


class Task(columns.Base):
    """One accepted task. The row decides; a message only wakes a slot of a worker, which then looks for rows."""

    __tablename__ = "tasks"

    def __repr__(self) -> str:
        """Return what a row is about; a value that is not loaded is not asked for."""
        known = self.__dict__
        return f"<Task {known.get('id')} {known.get('name')!r} {known.get('status')}>"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(info=SIZED)
    task_type: Mapped[str] = mapped_column(columns.ShortText, info=SIZED)
    celery_task_name: Mapped[str] = mapped_column(columns.ShortText)
    args: Mapped[list[Any]] = mapped_column(columns.JSONText)
    kwargs: Mapped[dict[str, Any]] = mapped_column(columns.JSONText)
    priority: Mapped[TaskPriority] = mapped_column(_Named(TaskPriority))
    queue: Mapped[str] = mapped_column(columns.ShortText)
    tags: Mapped[list[str]] = mapped_column(columns.TextList, server_default=columns.EmptyTextList(), info=SIZED_PARSED)
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", columns.JsonObject, server_default=columns.EmptyJsonObject(), info=SIZED_PARSED
    )

    status: Mapped[TaskStatus] = mapped_column(_Named(TaskStatus), server_default=TaskStatus.PENDING.value)
    # Why it was revoked: `cancelled`, `expired`, `ignored` (by its body), `stopped` (from outside).
    status_reason: Mapped[str | None]
    progress: Mapped[int] = mapped_column(server_default="0")
    progress_detail: Mapped[Any | None] = mapped_column(columns.JSONText)
    result: Mapped[Any | None] = mapped_column(columns.JSONText)
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    # The group of failures that it belongs to, while it is failed (`app/models/error_group.py`).
    error_fingerprint: Mapped[str | None] = mapped_column(columns.Word)

    run_at: Mapped[datetime | None]
    delay_seconds: Mapped[float | None] = mapped_column(columns.Double)
    expires_at: Mapped[datetime | None]
    timeout_seconds: Mapped[float | None] = mapped_column(columns.Double)
    retry_backoff_seconds: Mapped[float | None] = mapped_column(columns.Double)
    max_attempts: Mapped[int] = mapped_column(server_default="1")
    # The request or the decorator sets max_attempts: then `self.retry()` obeys it rather than max_retries.
    max_attempts_named: Mapped[bool] = mapped_column(server_default=false())
    rerun_lost: Mapped[bool] = mapped_column(server_default=true())
    # As requested. `active_key` is the unique_key until the task has ended, and NULL from then on: a unique index holds
    # it. `transition()` writes it with the status.
    unique_key: Mapped[str | None] = mapped_column(columns.ShortText, info=SIZED)
    on_conflict: Mapped[OnConflict | None] = mapped_column(_Named(OnConflict))
    active_key: Mapped[str | None] = mapped_column(columns.ShortText)
    # A limit by its name, and a key of it. A task with a limit is held until it has a place.
    limit: Mapped[str | None] = mapped_column(columns.ShortText)
    limit_key: Mapped[str | None] = mapped_column(columns.ShortText)
    # The ids of the tasks that it was to wait for, as requested (`TaskDependency`); NULL for none.
    depends_on: Mapped[list[str] | None] = mapped_column(columns.JSONText, info=SIZED)
    # The ended task that this one repeats with changes. No foreign key: the fact outlives that task.
    retry_of: Mapped[UUID | None]
    # The schedule that made it. No foreign key: it outlives the schedule.
    schedule_id: Mapped[UUID | None]
    # The workflow that it is a node of (`app/models/workflow.py`), which is deleted with its tasks.
    workflow_id: Mapped[UUID | None]
    # It needs a place of its user (QUOTA_RUNNING_TASKS), before that of a limit.
    user_limited: Mapped[bool | None]
    held: Mapped[str | None] = mapped_column(columns.Word)

    # Told of its end, beside the endpoints of its user (`app/models/webhook.py`).
    webhook_url: Mapped[str | None] = mapped_column(columns.LongText)
    # A bit for each consumer of the outbox that wants to know what becomes of it (`app/models/outbox.py`).
    # NULL for none, as nearly all have it.
    followers: Mapped[int | None] = mapped_column(SmallInteger)

    # Fencing. `attempt` counts starts and only rises; reports of progress and end name their attempt.
    attempt: Mapped[int] = mapped_column(server_default="0")
    claim_id: Mapped[UUID | None]
    worker: Mapped[str | None]
    worker_id: Mapped[UUID | None]
    worker_pid: Mapped[int | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")

    # What no client sees. `generation` rises with each retry through the API, which sets a new celery_id.
    celery_id: Mapped[UUID]
    generation: Mapped[int] = mapped_column(server_default="1")
    due_at: Mapped[datetime | None]
    # The place in the line of its queue and priority; null until the task is due, and while it is not pending.
    turn: Mapped[float | None] = mapped_column(columns.Double)
    delete_requested_at: Mapped[datetime | None]
    # Bytes of the name, tags and metadata, of the rows of `task_attempts`, and of whatever else is kept for the task
    # outside of `args`, `kwargs`, `progress_detail`, `result` and `error_message`, whose size the database knows.
    # Whoever writes or deletes such a thing changes this number in the same transaction.
    attached_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")

    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    # Why it waits, as far as the database knows: `schedule`, `retry`, `paused`, a `Held` but `name`, or `ready`; NULL
    # unless it is pending.
    waits: Mapped[str | None] = column_property(WAITS_COLUMN)

    __table_args__ = (
        columns.enum_check("status", TaskStatus),
        columns.enum_check("priority", TaskPriority),
        CheckConstraint("(status = 'running') = (claim_id IS NOT NULL)", name="running_has_claim"),
        CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name="pending_is_due"),
        CheckConstraint("turn IS NULL OR status = 'pending'", name="turn"),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)", name="terminal_has_finish"
        ),
        columns.enum_check("on_conflict", OnConflict),
        CheckConstraint(columns.Condition(ACTIVE_KEY_UNTIL_THE_END), name="active_key"),
        CheckConstraint(
            f"held IS NULL OR status = 'pending' AND held IN ({', '.join(repr(str(kind)) for kind in Held)})",
            name="held",
        ),
        CheckConstraint("(status = 'failed') = (error_fingerprint IS NOT NULL)", name="error_fingerprint"),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts", name="failures"),
        CheckConstraint(f"crashes BETWEEN 0 AND {MAX_CRASHES}", name="crashes"),
        CheckConstraint("attempt >= 0 AND generation >= 1 AND version >= 1", name="counters"),
        *task_indexes(),
    )

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def error(self) -> dict[str, str | None] | None:
        """`{type, message}` while the last attempt is one that failed."""
        if self.error_type is None:
            return None
        return {"type": self.error_type, "message": self.error_message}


indexes.add_mysql_columns(Task.__table__)
engines.install_triggers(Task.__table__, Task.__tablename__)

IS_PENDING = Task.status == TaskStatus.PENDING.value
IS_RUNNING = Task.status == TaskStatus.RUNNING.value


SIZED_TEXTS, SIZED_OTHERS = (
    tuple(column.name for column in Task.__table__.c if column.info == info) for info in (SIZED, SIZED_PARSED)
)


class TaskAttempt(columns.Base):
    """An attempt that did not succeed. The task's own row holds running and succeeded ones."""

    __tablename__ = "task_attempts"
    __table_args__ = (columns.enum_check("outcome", AttemptOutcome),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker: Mapped[str | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(columns.Word)
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    traceback: Mapped[str | None]


engines.install_triggers(TaskAttempt.__table__, TaskAttempt.__tablename__)


# -- Which tasks wait for which: one row for each child and parent, as long as the child is there ----------------------


class TaskDependency(columns.Base):
    """A child waits for its parent while the row is open. The parent's end closes it, whatever the end was.

    `goes_on`: the child runs also where the parent has failed or was revoked. No foreign key to the parent: one that a
    pending child names is not deleted, another may be.
    """

    __tablename__ = "task_dependencies"
    # What a parent's end closes.
    __table_args__ = (Index("ix_task_dependencies_parents", "parent_id"), UPDATED_ONCE)

    child_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    parent_id: Mapped[UUID] = mapped_column(primary_key=True)
    goes_on: Mapped[bool]
    is_open: Mapped[bool]


# -- Idempotency keys: a user's request under a key, and the tasks that it created -------------------------------------


class IdempotencyKey(columns.Base):
    """Committed with what was made or not at all. It outlives that, so that a late repetition makes no second one."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "task_id"), Index(None, "created_at"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(columns.short_text(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(columns.Digest)
    # Read still, written no more: the id of a single task, NULL once it has been deleted.
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))
    # What was made, in the order of the request: tasks, or a schedule or workflow. A deleted one is found missing.
    task_ids: Mapped[list[str] | None] = mapped_column(columns.JSONText)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


# -- The lines that bodies of tasks logged or printed ------------------------------------------------------------------

# `seq` is the attempt's number in front of the line's number: it rises over all attempts, without a counter that they
# share. JavaScript reads numbers below 2**53 exactly, which 2 million attempts do not reach.
SEQ_BITS = 32


class LogLevel(StrEnum):
    """The levels of `logging`. A level in between counts as the next lower one."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"

    @property
    def number(self) -> int:
        return 10 * (list(LogLevel).index(self) + 1)

    @classmethod
    def of(cls, number: int) -> "LogLevel":
        return list(cls)[min(max(number // 10, 1), len(cls)) - 1]


# A line to be written: number, time (RFC 3339), level, logger, message, and fields as JSON text.
LogLine = tuple[int, str, int, str, str, str]


class TaskLog(columns.Base):
    """One line, written by the attempt that logged it and deleted with the task."""

    __tablename__ = "task_logs"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    at: Mapped[datetime]
    level: Mapped[int] = mapped_column(SmallInteger)
    logger: Mapped[str]
    message: Mapped[str]
    fields: Mapped[dict[str, Any]] = mapped_column(columns.JSONText)


# -- What bodies of tasks emitted: the pieces of their output streams --------------------------------------------------


class TaskOutput(columns.Base):
    """One chunk, written by the attempt that emitted it and deleted with the task.

    `seq` is numbered as the lines of the log are (SEQ_BITS). Several texts may stand in one chunk.
    `bytes` is what the row counts in TASK_OUTPUT_BYTES and in the quota of the task's user.
    """

    __tablename__ = "task_output"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stream: Mapped[str] = mapped_column(columns.ShortText)
    attempt: Mapped[int]
    at: Mapped[datetime]
    chunk: Mapped[Any] = mapped_column(columns.JSONText)
    bytes: Mapped[int]


# -- The steps that bodies of tasks have done: what `self.step` keeps for a later attempt ------------------------------


class TaskStep(columns.Base):
    """One step, written by the attempt that ran it and deleted with the task.

    `seq` is numbered as the lines of the log are (SEQ_BITS): no index has it, since a task has some
    thousand steps at most. `bytes` is what the row counts in the quota of the task's user.
    """

    __tablename__ = "task_steps"
    # The quota: a sum that reads no row.
    __table_args__ = (Index("ix_task_steps_user", "user_id", "bytes"),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(columns.ShortText, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[UUID]
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    bytes: Mapped[int]
    result: Mapped[Any] = mapped_column(columns.JSONText, nullable=True)

    @property
    def size(self) -> int:
        """The bytes of the result."""
        return self.bytes - STEP_BYTES - len(self.name.encode())
