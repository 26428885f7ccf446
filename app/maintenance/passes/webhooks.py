"""Sends webhooks, queues them again, follows the tasks of users with new endpoints, drops and deletes deliveries."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.db.statements.conditions import has_rows
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_MINUTE, Needs, Pass, Round
from app.maintenance.steps import Steps, take_steps
from app.models.webhook import ClosedLane, WebhookDelivery, WebhookRecovery
from app.outbound.targets import Policy
from app.services.webhooks import dropping, following, forgetting, recoveries
from app.services.webhooks.sender import Sender, sender_of

IDLE_SECONDS = 0.5
# Nothing waits for it: what is taken of a disabled endpoint is dropped as well.
DROP_SECONDS = 5.0
# A request has said that it is done within seconds.
RECOVER_SECONDS = 2.0

RECOVERIES = Steps(
    "webhooks: a batch of recovery", recoveries.running, recoveries.step, "its user can disable the endpoint"
)

# What is under way outlasts a run of the pass.
SENDER: PerProcess[Sender | None] = PerProcess(lambda: None)


def _send(db: Session, this: Round) -> float | None:
    sender = SENDER()
    if sender is None:
        sender = sender_of(Policy.of(this.settings), this.settings.accepted_keys)
        SENDER.replace(sender)
    return AT_NEXT_ROUND if sender.run(db, this.stopping) else None


def _follow(db: Session, this: Round) -> None:
    following.follow_active_tasks(db, this.stopping)


def _drop(db: Session, this: Round) -> None:
    dropping.drop_closed(db, this.stopping)


def _recover(db: Session, this: Round) -> float | None:
    return AT_NEXT_ROUND if take_steps(db, RECOVERIES, this.stopping) else None


def _forget(db: Session, this: Round) -> float | None:
    return this.run_batches(db, forgetting.forget_deliveries, forgetting.FORGET_BATCH)


def _any_is_due() -> ColumnElement[bool]:
    due_at = WebhookDelivery.next_attempt_at
    return has_rows(select(WebhookDelivery.id).where(due_at <= STATEMENT_TIME).order_by(due_at))


def _there_are_closed_lanes() -> ColumnElement[bool]:
    return has_rows(select(ClosedLane.lane))


def _there_are_recoveries() -> ColumnElement[bool]:
    return has_rows(select(WebhookRecovery.id))


SEND = Pass("send_webhooks", IDLE_SECONDS, Needs.THREAD, _send, _any_is_due)
FOLLOW = Pass("follow_tasks", EACH_MINUTE, Needs.THREAD, _follow)
DROP = Pass("drop_deliveries", DROP_SECONDS, Needs.THREAD, _drop, _there_are_closed_lanes)
RECOVER = Pass("recover_webhooks", RECOVER_SECONDS, Needs.THREAD, _recover, _there_are_recoveries)
FORGET = Pass("forget_deliveries", EACH_MINUTE, Needs.DATABASE, _forget)
