"""Works off what transactions have left to do later: changes of counts, bulk deeds, rows of the outbox, webhooks."""

from functools import partial
from threading import Event

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.db.statements.reads import has_rows
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_MINUTE, EACH_ROUND, Needs, Pass, Round, Steps, take_steps
from app.models.bulk import BulkDeed, DeedState
from app.models.outbox import OutboxRow
from app.models.task_count import task_count_changes
from app.models.task_stats import task_submissions
from app.models.webhook import ClosedLane, WebhookDelivery, WebhookRecovery
from app.outbound.targets import Policy
from app.services.bulk import steps
from app.services.consumers import CONSUMERS
from app.services.operations import stats_service
from app.services.outbox import Consumer, Turn, deliver_batch
from app.services.tasks import task_counts
from app.services.webhooks import deliveries, endpoints, queue
from app.services.webhooks.sender import Sender, sender_of

ADD_CHANGES = Pass(
    "add_changes",
    EACH_ROUND,
    Needs.DATABASE,
    lambda db, this: this.run_batches(db, task_counts.fold, task_counts.FOLD_BATCH),
    lambda: has_rows(select(task_count_changes.c.number)),
)
ADD_SUBMISSIONS = Pass(
    "add_submissions",
    EACH_ROUND,
    Needs.DATABASE,
    lambda db, this: this.run_batches(db, stats_service.add_submissions, stats_service.SUBMISSIONS_BATCH),
    lambda: has_rows(select(task_submissions.c.number)),
)


# -- Does bulk deeds, as long as there are running ones: in each round, a step for each user who has any ---------------

BULK_SECONDS = 0.5
DEEDS = Steps("bulk: a batch of deed", steps.running, steps.step, "its user can abort it")


def take_bulk_steps(db: Session, stopping: Event) -> bool:
    """Take one step for each user who has a running deed. Returns whether any has moved."""
    return take_steps(db, DEEDS, stopping)


DO_BULK = Pass(
    "do_bulk",
    BULK_SECONDS,
    Needs.THREAD,
    lambda db, this: AT_NEXT_ROUND if take_bulk_steps(db, this.stopping) else None,
    lambda: has_rows(select(BulkDeed.id).where(BulkDeed.state == DeedState.RUNNING.value)),
)


# -- Sends webhooks, queues them again, follows the tasks of users with new endpoints, drops and deletes deliveries ----

WEBHOOK_SECONDS = 0.5
# Nothing waits for it: what is taken of a disabled endpoint is dropped as well.
DROP_SECONDS = 5.0
# A request has said that it is done within seconds.
RECOVER_SECONDS = 2.0

RECOVERIES = Steps(
    "webhooks: a batch of recovery",
    deliveries.running_recoveries,
    deliveries.step_recovery,
    "its user can disable the endpoint",
)

# What is under way outlasts a run of the pass.
SENDER: PerProcess[Sender | None] = PerProcess(lambda: None)


def _send_webhooks(db: Session, this: Round) -> float | None:
    sender = SENDER()
    if sender is None:
        sender = sender_of(Policy.of(this.settings), this.settings.accepted_keys)
        SENDER.replace(sender)
    return AT_NEXT_ROUND if sender.run(db, this.stopping, this.leads) else None


def _let_go_of_webhooks(db: Session) -> bool:
    sender = SENDER()
    return sender is not None and sender.let_go(db)


def _any_delivery_is_due() -> ColumnElement[bool]:
    due_at = WebhookDelivery.next_attempt_at
    return has_rows(select(WebhookDelivery.id).where(due_at <= STATEMENT_TIME).order_by(due_at))


SEND_WEBHOOKS = Pass(
    "send_webhooks", WEBHOOK_SECONDS, Needs.THREAD, _send_webhooks, _any_delivery_is_due, let_go=_let_go_of_webhooks
)
FOLLOW_TASKS = Pass(
    "follow_tasks", EACH_MINUTE, Needs.THREAD, lambda db, this: endpoints.follow_active_tasks(db, this.stopping)
)
DROP_DELIVERIES = Pass(
    "drop_deliveries",
    DROP_SECONDS,
    Needs.THREAD,
    lambda db, this: queue.drop_closed_lanes(db, this.stopping),
    lambda: has_rows(select(ClosedLane.lane)),
)
RECOVER_WEBHOOKS = Pass(
    "recover_webhooks",
    RECOVER_SECONDS,
    Needs.THREAD,
    lambda db, this: AT_NEXT_ROUND if take_steps(db, RECOVERIES, this.stopping) else None,
    lambda: has_rows(select(WebhookRecovery.id)),
)


# -- Hands the rows of the outbox to their consumers: a pass for each, so that none waits for another one --------------

OUTBOX_SECONDS = 0.5


def outbox_pass_of(consumer: Consumer) -> Pass:
    """Return the pass that serves this consumer."""
    turn = Turn()

    def run(db: Session, this: Round) -> float | None:
        # A batch has the first row of each task: it is the last one when none is left.
        return this.run_batches(db, partial(deliver_batch, consumer=consumer, turn=turn), 1)

    def has_work() -> ColumnElement[bool]:
        rows = select(OutboxRow.id).where(OutboxRow.consumer == consumer.number, OutboxRow.set_aside_at.is_(None))
        return has_rows(rows.order_by(OutboxRow.user_id, OutboxRow.id))

    name = f"outbox_{consumer.name}"  # what it is told of may be recorded for webhooks
    return Pass(name, OUTBOX_SECONDS, Needs.THREAD, run, has_work, followed_by=(SEND_WEBHOOKS,))


OUTBOX_PASSES = tuple(map(outbox_pass_of, CONSUMERS))
