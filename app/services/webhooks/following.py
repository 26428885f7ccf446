"""Has the outbox told of the ends of a user's tasks while the user has an enabled endpoint.

`users.followers` says so to each submit, which reads it with what it reads of the user anyway. So it is set in the
transaction that creates or enables an endpoint. The tasks that are active then are followed afterwards.
"""

import threading
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.ddl.clock import NOW
from app.models.task import ACTIVE, Task
from app.models.user import User
from app.models.webhook import WebhookEndpoint
from app.services.outbox import follow_tasks
from app.services.webhooks.recording import CONSUMER

# At most so many tasks in one transaction.
BATCH = 1000
# A submit that has read its user before the endpoint was committed has ended by then.
YOUNG = timedelta(minutes=5)


def follow_new_tasks(db: Session, user_id: UUID) -> None:
    """Have each new task of the user followed if an endpoint is enabled, and else not. The caller commits.

    The caller holds the lock on the user's row, so that no other endpoint comes or goes meanwhile.
    """
    enabled = sa.exists().where(WebhookEndpoint.user_id == user_id, WebhookEndpoint.enabled)
    others = sa.func.coalesce(User.followers, 0).bitwise_and(~CONSUMER.bit & 0xFF)
    bits = (
        others.bitwise_or(CONSUMER.bit)
        if db.scalar(sa.select(enabled))
        else sa.case((others > 0, others), else_=sa.null())
    )
    followed = sa.update(User).where(User.id == user_id).values(followers=bits)
    db.execute(followed.execution_options(synchronize_session=False))


def follow_batch(db: Session, user_id: UUID, after: UUID | None = None) -> UUID | None:
    """Follow a batch of the user's active tasks, those behind this id. The caller commits.

    Returns the last id of the batch, or None if no more are left.
    """
    found = sa.select(Task.id).where(Task.user_id == user_id, Task.status.in_(sorted(ACTIVE)))
    if after is not None:
        found = found.where(Task.id < after)
    ids = db.scalars(found.order_by(Task.id.desc()).limit(BATCH)).all()
    if ids:
        follow_tasks(db, CONSUMER, Task.id.in_(ids))
    return ids[-1] if len(ids) == BATCH else None


def follow_active_tasks(db: Session, stopping: threading.Event) -> None:
    """Follow the active tasks of users with endpoints that are younger than YOUNG: those that nothing follows yet.

    A transaction for each batch.
    """
    with transaction(db):
        young = sa.select(WebhookEndpoint.user_id).distinct()
        users = db.scalars(young.where(WebhookEndpoint.enabled, WebhookEndpoint.updated_at > NOW - YOUNG)).all()
    for user_id in users:
        last: UUID | None = None
        while not stopping.is_set():
            with transaction(db):
                last = follow_batch(db, user_id, last)
            if last is None:
                break
