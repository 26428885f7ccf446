"""Webhooks: the endpoints of a user, the deliveries to them, and the secrets that sign them.

Each method is one transaction; with `commit=False` the caller commits. What sends them: `app/services/webhooks/`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.signatures import encode_secret
from app.core.validation_errors import parsed
from app.db.listing import Page
from app.db.session import transaction
from app.db.statements.reads import find_owned
from app.db.transactions import retries_deadlocks
from app.ddl.clock import NOW
from app.errors import DeliveryNotFound, InvalidWebhook, TaskNotFound, TookTooLong, WebhookLimit
from app.models.task import Task
from app.models.webhook import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from app.outbound.targets import parse_url
from app.schemas.webhook import GRACE_SECONDS, WebhookCreate, WebhookFilter, WebhookPatch, WebhookRecover
from app.services import audit
from app.services.accounts.login_throttle import count_change, count_deed
from app.services.webhooks import deliveries, endpoints, queue
from app.services.webhooks.deliveries import DELIVERIES

MAX_ENDPOINTS = 20
# Of one user, within fifteen minutes (`login_throttle.WINDOW`). A recovery is of any number of deliveries.
MOST_REDELIVERIES, MOST_RECOVERIES = 1000, 100


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """The row of a new endpoint, and its secret, which is shown only once."""

    row: WebhookEndpoint
    secret: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new secret of an endpoint, and until when the old one signs beside it."""

    secret: str
    old_secret_until: datetime


class WebhookService:
    """The operations on webhooks. Stateless: `webhook_service` is the shared instance.

    With `user_id`, another user's endpoint raises WebhookNotFound, as one that does not exist; None reads whoever's.
    `owner` limits a call to one user's deliveries and tasks in the same way.
    """

    # Secrets of users, for the `webhook_url` of tasks and for `send_webhook`

    def secret_of_user(self, user_id: UUID) -> str:
        """Return the secret with which the user's receivers verify webhooks, as `whsec_…`. Raises WebhooksOff."""
        return encode_secret(endpoints.keys_of_user(user_id)[0])

    @retries_deadlocks
    def show_secret(self, db: Session, user_id: UUID, *, commit: bool = True) -> str:
        """Return `secret_of_user` at the user's own request, which the audit records. Raises WebhooksOff."""
        secret = self.secret_of_user(user_id)
        with transaction(db, commit=commit):
            audit.record(db, WebhookEvent.SECRET_READ, audit.Subject.user(user_id))
        return secret

    def keys_for_task(self, db: Session, task_id: UUID) -> list[bytes]:
        """Return the signing keys of the task's owner. Raises TaskNotFound, WebhooksOff."""
        owner = db.scalar(sa.select(Task.user_id).where(Task.id == task_id))
        if owner is None:
            raise TaskNotFound
        return endpoints.keys_of_user(owner)

    def service_keys(self) -> list[bytes]:
        """Return the service's own signing keys, for webhooks without a user. Raises WebhooksOff."""
        return endpoints.service_keys()

    # Endpoints

    @retries_deadlocks
    def create_endpoint(
        self,
        db: Session,
        user_id: UUID,
        url: str,
        events: Collection[EventType | str],
        *,
        filter: WebhookFilter | dict[str, Any] | None = None,  # noqa: A002 (the field's name)
        enabled: bool = True,
        description: str | None = None,
        commit: bool = True,
    ) -> NewEndpoint:
        """Create an endpoint of this user. Its tasks that are submitted from the commit on are told.

        Raises InvalidWebhook, WebhookLimit, UserNotFound, and EndpointsOff without SECRET_KEY.
        """
        fields = {"url": url, "events": list(events), "filter": filter or WebhookFilter(), "enabled": enabled}
        wanted = parsed(WebhookCreate, {**fields, "description": description}, InvalidWebhook)
        key, endpoint_id, service = endpoints.new_key(), new_id(), endpoints.encryption_keys()
        secret = endpoints.encrypted_key(key, endpoint_id, service)
        with transaction(db, commit=commit):
            endpoints.lock_user(db, user_id)
            of_user = sa.select(sa.func.count()).where(WebhookEndpoint.user_id == user_id)
            if (db.scalar(of_user) or 0) >= MAX_ENDPOINTS:
                raise WebhookLimit
            row = WebhookEndpoint(
                id=endpoint_id, user_id=user_id, secret=secret, **endpoints.columns_of(wanted.model_dump())
            )
            row.disabled_at = None if enabled else NOW
            db.add(row)
            db.flush()
            endpoints.follow_tasks_of(db, user_id)
            db.refresh(row)
            audit.record(
                db, WebhookEvent.CREATED, endpoints.subject_of(row), events=row.events, to=parse_url(row.url).origin
            )
        return NewEndpoint(row, encode_secret(key))

    def list_endpoints(self, db: Session, user_id: UUID) -> list[WebhookEndpoint]:
        """Return the endpoints of this user, oldest first."""
        found = sa.select(WebhookEndpoint).where(WebhookEndpoint.user_id == user_id).order_by(WebhookEndpoint.id)
        with transaction(db):
            return list(db.scalars(found.execution_options(populate_existing=True)))

    def get_endpoint(self, db: Session, user_id: UUID | None, endpoint_id: UUID) -> WebhookEndpoint:
        """Return an endpoint of this user, or of any. Raises WebhookNotFound."""
        with transaction(db):
            return endpoints.find_endpoint(db, user_id, endpoint_id)

    @retries_deadlocks
    def update_endpoint(
        self, db: Session, user_id: UUID, endpoint_id: UUID, changes: dict[str, Any], *, commit: bool = True
    ) -> WebhookEndpoint:
        """Change `url`, `events`, `filter`, `enabled`, `description`.

        Enabled again, it begins anew: nothing of the time between is told, and its failures are forgotten. Disabled,
        what is queued for it is not sent, and maintenance drops it. Raises InvalidWebhook, WebhookNotFound.
        """
        wanted = parsed(WebhookPatch, changes, InvalidWebhook).model_dump(exclude_unset=True)
        with transaction(db, commit=commit):
            endpoints.lock_user(db, user_id)
            row = endpoints.find_endpoint(db, user_id, endpoint_id, lock=True)
            values = endpoints.columns_of(wanted)
            if "url" in values or (wanted.get("enabled") and not row.enabled):
                values |= {"failing_since": None}
            if wanted.get("enabled", row.enabled) != row.enabled:
                queue.close_lane(db, row)
                values |= {"disabled_at": NOW} if row.enabled else {"disabled_at": None, "lane": new_id()}
                values |= {"disabled_reason": None}
            if not values:
                return row
            endpoints.write_endpoint(db, endpoint_id, values)
            if not wanted.keys().isdisjoint({"enabled", "events"}):
                endpoints.follow_tasks_of(db, user_id)
            row = endpoints.find_endpoint(db, user_id, endpoint_id)
            audit.record(
                db, WebhookEvent.CHANGED, endpoints.subject_of(row), fields=sorted(wanted), to=parse_url(row.url).origin
            )
            return row

    @retries_deadlocks
    def delete_endpoint(self, db: Session, user_id: UUID, endpoint_id: UUID, *, commit: bool = True) -> None:
        """Delete an endpoint. What is queued for it is not sent, and maintenance drops it. Raises WebhookNotFound."""
        with transaction(db, commit=commit):
            endpoints.lock_user(db, user_id)
            row = endpoints.find_endpoint(db, user_id, endpoint_id, lock=True)
            queue.close_lane(db, row)
            gone = sa.delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
            db.execute(gone.execution_options(synchronize_session=False))
            db.expunge(row)
            endpoints.follow_tasks_of(db, user_id)
            audit.record(db, WebhookEvent.DELETED, endpoints.subject_of(row), to=parse_url(row.url).origin)

    @retries_deadlocks
    def rotate_secret(
        self, db: Session, user_id: UUID, endpoint_id: UUID, grace_seconds: float = GRACE_SECONDS, *,
        commit: bool = True,
    ) -> Rotated:  # fmt: skip
        """Give the endpoint a new secret; the old one signs beside it for `grace_seconds`.

        A secret that is still in its grace time from an earlier rotation signs no more, nor does an old one that
        cannot be decrypted. Raises WebhookNotFound, EndpointsOff.
        """
        key, service = endpoints.new_key(), endpoints.encryption_keys()
        with transaction(db, commit=commit):
            endpoints.lock_user(db, user_id)
            row = endpoints.find_endpoint(db, user_id, endpoint_id, lock=True)  # nobody renews its encryption meanwhile
            old = row.secret if endpoints.can_sign(row, service) else None
            now: datetime = db.execute(sa.select(NOW)).scalar_one()
            until = now if old is None else now + timedelta(seconds=grace_seconds)
            new = endpoints.encrypted_key(key, endpoint_id, service)
            endpoints.write_endpoint(db, endpoint_id, {"secret": new, "old_secret": old, "old_secret_until": until})
            audit.record(db, WebhookEvent.SECRET_ROTATED, endpoints.subject_of(row), grace_seconds=int(grace_seconds))
        return Rotated(encode_secret(key), until)

    # Deliveries

    @retries_deadlocks
    def send_test(self, db: Session, user_id: UUID, endpoint_id: UUID, *, commit: bool = True) -> WebhookDelivery:
        """Queue a test event for this endpoint. Raises WebhookNotFound, WebhookDisabled, TooManyRequests."""
        with transaction(db, commit=commit):
            row = endpoints.find_enabled(db, user_id, endpoint_id)
            count_change(db, "webhook tests", user_id)
            return deliveries.add_test(db, row)

    def list_deliveries(
        self, db: Session, user_id: UUID | None, endpoint_id: UUID, *, limit: int = 50, cursor: str | None = None
    ) -> Page[WebhookDelivery]:
        """Return a page of the deliveries to this endpoint, newest first. Raises WebhookNotFound, InvalidCursor."""
        with transaction(db):
            endpoints.find_endpoint(db, user_id, endpoint_id)
            return DELIVERIES.page(db, limit, cursor, WebhookDelivery.endpoint_id == endpoint_id)

    def get_delivery(self, db: Session, delivery_id: UUID, *, owner: UUID | None = None) -> WebhookDelivery:
        """Return a delivery with its body, to an endpoint or to the `webhook_url` of a task; of this user alone.

        Raises DeliveryNotFound.
        """
        with transaction(db):
            return find_owned(db, WebhookDelivery, delivery_id, owner, DeliveryNotFound)

    def newest_deliveries(self, db: Session, endpoint_ids: Collection[UUID]) -> dict[UUID, WebhookDelivery]:
        """Return the newest delivery to each of these endpoints, by the endpoint's id, without its body."""
        with transaction(db):
            return deliveries.newest_deliveries(db, endpoint_ids)

    def count_queued(self, db: Session, endpoint_id: UUID, most: int) -> deliveries.Queued:
        """Return how many deliveries wait to be sent to this endpoint; no more than `most` are counted."""
        with transaction(db):
            return deliveries.count_queued(db, endpoint_id, most)

    def list_deliveries_of_task(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[WebhookDelivery]:
        """Return a page of the deliveries of this task's ends, newest first: to its `webhook_url` and to endpoints.

        Raises TaskNotFound, InvalidCursor.
        """
        with transaction(db):
            task = sa.select(Task.id).where(Task.id == task_id)
            if db.scalar(task if owner is None else task.where(Task.user_id == owner)) is None:
                raise TaskNotFound
            return DELIVERIES.page(db, limit, cursor, WebhookDelivery.task_id == task_id)

    @retries_deadlocks
    def redeliver(
        self, db: Session, user_id: UUID, endpoint_id: UUID, delivery_id: UUID, *, commit: bool = True
    ) -> WebhookDelivery:
        """Send a delivery again, now, whatever became of it: the same id and the same bytes.

        One that is under way, or is sent within a minute anyway, is left as it is. Raises WebhookNotFound,
        DeliveryNotFound, WebhookDisabled, TooManyRequests.
        """
        its = WebhookDelivery.id == delivery_id, WebhookDelivery.endpoint_id == endpoint_id
        with transaction(db, commit=commit):
            endpoint = endpoints.find_enabled(db, user_id, endpoint_id)
            count_deed(db, "redeliveries of webhooks", {str(user_id): MOST_REDELIVERIES})
            deliveries.queue_again(db, endpoint, *its, ~deliveries.is_soon(endpoint))
            row = db.scalars(sa.select(WebhookDelivery).where(*its).execution_options(populate_existing=True)).first()
            if row is None:
                raise DeliveryNotFound
            return row

    @retries_deadlocks
    def recover(
        self, db: Session, user_id: UUID, endpoint_id: UUID, since: datetime, *, commit: bool = True
    ) -> int:  # fmt: skip
        """Have all sent again that failed or was dropped since then, or waits for another attempt.

        Maintenance queues it. Returns how many deliveries match now. Raises WebhookNotFound, WebhookDisabled,
        TooManyRequests, InvalidWebhook for a time without an offset; and TookTooLong where it is accepted, but too many
        to be counted in time.
        """
        moment = parsed(WebhookRecover, {"since": since}, InvalidWebhook).since
        return self._recover(db, user_id, endpoint_id, moment, commit=commit)

    @retries_deadlocks
    def send_waiting(self, db: Session, user_id: UUID, endpoint_id: UUID, *, commit: bool = True) -> int:
        """Have all sent now that waits for another attempt. Returns how many deliveries match now.

        Raises WebhookNotFound, WebhookDisabled, TooManyRequests, TookTooLong.
        """
        return self._recover(db, user_id, endpoint_id, None, commit=commit)

    def _recover(self, db: Session, user_id: UUID, endpoint_id: UUID, since: datetime | None, *, commit: bool) -> int:
        with transaction(db, commit=commit):
            endpoint = endpoints.find_enabled(db, user_id, endpoint_id)
            count_deed(db, "recoveries of webhooks", {str(user_id): MOST_RECOVERIES})
            number = deliveries.accept_recovery(db, endpoint, since)
        if number is None:
            raise TookTooLong("The recovery is accepted, but what it sends could not be counted in time")
        return number

    # The operator

    @retries_deadlocks
    def renew_encryption(self, db: Session) -> int:
        """Encrypt with SECRET_KEY what a key of SECRET_KEY_PREVIOUS has encrypted. Returns the number of secrets."""
        service = get_settings().accepted_keys
        with transaction(db):
            ids = db.scalars(sa.select(WebhookEndpoint.id).order_by(WebhookEndpoint.id)).all()
        renewed = 0
        for endpoint_id in ids:
            with transaction(db):
                locked = sa.select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).with_for_update()
                row = db.scalars(locked.execution_options(populate_existing=True)).one_or_none()
                if row is not None:
                    renewed += endpoints.renew_secrets(row, service)
        return renewed


webhook_service = WebhookService()
