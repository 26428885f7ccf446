"""Retention: one table of rules says what is of no use any more, and one pass of maintenance deletes it.

A rule deletes a batch of rows in a transaction of its own. A full batch may have left more: another one follows. What
RETENTION_BYTES says of a user's tasks, and what becomes of files, stands in `app/maintenance/passes/deletions.py`.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.ids import first_id_at
from app.db.session import transaction
from app.db.statements import claim_holds, error_groups, files, retention
from app.db.statements.batches import delete_batch, delete_some
from app.db.statements.schedules import old_runs
from app.db.statements.tables import CLAIMED_TURNS, DAILY_COUNTS, SCHEDULE_RUNS
from app.db.statements.writes import changed_rows
from app.ddl.clock import STATEMENT_TIME
from app.ddl.columns import Base
from app.models.auth import ApiKey, LoginBlock, LoginSession, ThrottleCount
from app.models.bulk import BulkDeed
from app.models.error_group import FORGET_AFTER, MOST_FORGETTABLE, TIMES_KEPT, ErrorGroup, error_times
from app.models.task import IS_RUNNING, IdempotencyKey, Task
from app.models.task_count import stored_bytes, task_counts, task_totals
from app.models.task_stats import KEPT as STATS_KEPT, task_durations, task_stats
from app.models.webhook import KEPT as DELIVERIES_KEPT, WebhookDelivery
from app.models.worker import WorkerProcess
from app.services.accounts import login_throttle
from app.services.tasks import idempotency, task_changes

MINUTE, HOUR = 60.0, 3600.0
# Rows of workers that stopped this long ago are of no use.
WORKERS_KEPT = timedelta(days=1)
BULK_DEEDS_KEPT = timedelta(days=7)
SCHEDULE_RUNS_KEPT = timedelta(days=90)
TASKS_BATCH = 1000

# Or what gives it: by the settings, and now.
Condition = ColumnElement[bool] | Callable[[Settings], ColumnElement[bool]]


@dataclass(frozen=True)
class Rule:
    """What is deleted of a table.

    `delete` deletes at most about `batch` rows in the caller's transaction, and returns how many. Maintenance looks for
    them each `every` seconds.
    """

    table: str
    delete: Callable[[Session, Settings, int], int]
    batch: int = 1000
    every: float = MINUTE

    @classmethod
    def by_keys(cls, model: type[Base], condition: Condition, batch: int = 1000, every: float = MINUTE) -> "Rule":
        """Return the rule that deletes these rows by their keys.

        It leaves out rows that another transaction has locked, and waits for none of them on any engine.
        """

        def delete_rows(db: Session, settings: Settings, limit: int) -> int:
            return delete_batch(db, model, _condition(condition, settings), limit=limit)

        return cls(model.__tablename__, delete_rows, batch, every)

    @classmethod
    def of_sums(cls, table: Table, condition: Condition, batch: int = 1000, every: float = MINUTE) -> "Rule":
        """Return the rule for a table with a key of several columns, whose rows nobody else locks for long."""

        def delete_sums(db: Session, settings: Settings, limit: int) -> int:
            return delete_some(db, table, _condition(condition, settings), limit=limit)

        return cls(table.name, delete_sums, batch, every)


def _condition(condition: Condition, settings: Settings) -> ColumnElement[bool]:
    return condition if isinstance(condition, ColumnElement) else condition(settings)


def _is_past(column: Any, age: timedelta) -> ColumnElement[bool]:
    return cast("ColumnElement[bool]", column < STATEMENT_TIME - age)


def _is_past_login(*columns: Any) -> Condition:
    """Return the condition that one of these times is longer ago than LOGIN_RETENTION_DAYS."""
    return lambda settings: or_(
        *(_is_past(column, timedelta(days=settings.login_retention_days)) for column in columns)
    )


def _delete_tasks(db: Session, settings: Settings, _: int) -> int:
    age = timedelta(days=settings.retention_days)
    return retention.delete_older(db, age, TASKS_BATCH, task_changes.PURGE_BYTES)


def _delete_passed_turns(db: Session, _: Settings, limit: int) -> int:
    """Delete the turns that claims have passed: one for each line says where it stands."""
    claimed, number = CLAIMED_TURNS.c, 0
    clocks = select(claimed.queue, claimed.priority, func.max(claimed.turn)).group_by(claimed.queue, claimed.priority)
    for queue, priority, clock in db.execute(clocks).all():
        line = (claimed.queue == queue, claimed.priority == priority)
        # Not those of claims that are not committed yet: they would have this wait.
        passed = select(claimed.turn).where(*line, claimed.turn < clock).limit(limit).with_for_update(skip_locked=True)
        if found := db.scalars(passed).all():
            number += changed_rows(db.execute(delete(CLAIMED_TURNS).where(*line, claimed.turn.in_(found))))
    return number


_HOLDS_TASKS = exists().where(IS_RUNNING, Task.worker_id == WorkerProcess.id)
_ZEROS = (task_counts.c.number, task_totals.c.number, stored_bytes.c.bytes)
FORGET: tuple[Rule, ...] = (
    Rule.by_keys(WorkerProcess, _is_past(WorkerProcess.heartbeat_at, WORKERS_KEPT) & ~_HOLDS_TASKS),
    Rule("claim_holds", lambda db, _, __: claim_holds.forget_drains(db)),
    Rule("claimed_turns", _delete_passed_turns),
    # Such as those of deleted users.
    *(Rule.of_sums(column.table, column == 0) for column in _ZEROS),
    Rule.by_keys(BulkDeed, _is_past(BulkDeed.finished_at, BULK_DEEDS_KEPT), 100),
    # What no window shows any more.
    *(
        Rule.of_sums(table, (table.c.step_seconds == step) & _is_past(table.c.at, kept), 5000)
        for table in (task_stats, task_durations)
        for step, kept in STATS_KEPT.items()
    ),
    Rule.by_keys(ErrorGroup, error_groups.IS_UNUSED & _is_past(ErrorGroup.last_seen, FORGET_AFTER)),
    Rule.by_keys(ErrorGroup, error_groups.is_unused_beyond(MOST_FORGETTABLE)),
    Rule.of_sums(error_times, _is_past(error_times.c.at, TIMES_KEPT)),
    Rule.of_sums(SCHEDULE_RUNS, and_(*old_runs(SCHEDULE_RUNS_KEPT))),
    # Whatever became of them. Their ids tell when they were made.
    Rule.by_keys(
        WebhookDelivery, lambda _: WebhookDelivery.id < first_id_at(time.time() - DELIVERIES_KEPT.total_seconds()), 500
    ),
    Rule("file_uses", lambda db, _, limit: files.forget_uses(db, limit), 500, HOUR),
    # A batch is bounded by its bytes as well: any one may have left more.
    Rule("tasks", _delete_tasks, 1, HOUR),
    Rule.by_keys(IdempotencyKey, _is_past(IdempotencyKey.created_at, idempotency.LIFETIME), every=HOUR),
    Rule.of_sums(DAILY_COUNTS, lambda _: DAILY_COUNTS.c.day < datetime.now(UTC).date(), every=HOUR),
    # With their refresh tokens.
    Rule.by_keys(LoginSession, _is_past_login(LoginSession.expires_at), every=HOUR),
    Rule.by_keys(ThrottleCount, _is_past(ThrottleCount.started_at, login_throttle.LONGEST_MEMORY), every=HOUR),
    Rule.by_keys(LoginBlock, _is_past_login(LoginBlock.signed_in_at), every=HOUR),
    Rule.by_keys(ApiKey, _is_past_login(ApiKey.revoked_at, ApiKey.expires_at), every=HOUR),
)


def forget_batch(db: Session, settings: Settings, rule: Rule) -> int:
    """Delete a batch of what the rule names. Returns how many rows; fewer than `rule.batch` were all."""
    with transaction(db):
        return rule.delete(db, settings, rule.batch)


def forget(db: Session, settings: Settings, *tables: str) -> Counter[str]:
    """Delete all that the rules of these tables name, a transaction for each batch. Returns how many rows of each."""
    total = Counter[str]()
    for rule in FORGET:
        while rule.table in tables:
            deleted = forget_batch(db, settings, rule)
            total[rule.table] += deleted
            if deleted < rule.batch:
                break
    return total
