"""Writers of one endpoint wait for each other, and repeat what a deadlock has undone."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.webhooks import deliveries, endpoints
from app.services.webhooks.service import webhook_service
from tests.support.database_errors import said
from tests.support.lock_waits import after_the_commit, needs_row_locks
from tests.support.services import Services
from tests.support.settings import on_new_database, settings
from tests.support.tasks import new_user
from tests.support.webhooks import ALLOWED, endpoint

DEADLOCK = "40P01"
Call = Callable[[Session, WebhookEndpoint], Any]


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services), settings(ALLOWED):
        yield


@pytest.fixture
def made() -> WebhookEndpoint:
    with SessionLocal() as db:
        row = endpoint(db, new_user(db)).row
        webhook_service.send_test(db, row.user_id, row.id)
        return row


@needs_row_locks
def test_a_rotation_keeps_the_old_secret_as_it_is_encrypted_anew(made: WebhookEndpoint) -> None:
    with SessionLocal() as db:
        before = bytes(db.scalars(select(WebhookEndpoint.secret)).one())
    anew = encrypted_anew(before, made.id)
    with SessionLocal() as one, SessionLocal() as other:
        one.execute(update(WebhookEndpoint).values(secret=anew))
        after_the_commit(one, lambda: webhook_service.rotate_secret(other, made.user_id, made.id))
    with SessionLocal() as db:
        assert bytes(db.scalars(select(WebhookEndpoint.old_secret)).one() or b"") == anew


def encrypted_anew(secret: bytes, endpoint_id: UUID) -> bytes:
    """The same secret, encrypted once more."""
    service = endpoints.encryption_keys()
    return endpoints.encrypted_key(endpoints.decrypted_key(secret, endpoint_id, service)[0], endpoint_id, service)


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ((endpoints, "lock_user"), lambda db, row: endpoint(db, row.user_id)),
        (
            (endpoints, "write_endpoint"),
            lambda db, row: webhook_service.update_endpoint(db, row.user_id, row.id, {"enabled": False}),
        ),
        ((endpoints, "lock_user"), lambda db, row: webhook_service.delete_endpoint(db, row.user_id, row.id)),
        ((endpoints, "write_endpoint"), lambda db, row: webhook_service.rotate_secret(db, row.user_id, row.id)),
        ((deliveries, "add_test"), lambda db, row: webhook_service.send_test(db, row.user_id, row.id)),
        (
            (deliveries, "queue_again"),
            lambda db, row: webhook_service.redeliver(db, row.user_id, row.id, delivery_id()),
        ),
        (
            (deliveries, "accept_recovery"),
            lambda db, row: webhook_service.recover(db, row.user_id, row.id, datetime(2020, 1, 1, tzinfo=UTC)),
        ),
        ((endpoints, "renew_secrets"), lambda db, row: webhook_service.renew_encryption(db)),
    ],
    ids=["create", "change", "delete", "rotate", "test", "redeliver", "recover", "renew"],
)
def test_a_call_that_a_deadlock_has_undone_is_made_again(
    made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str], call: Call
) -> None:
    with SessionLocal() as db:
        db.execute(update(WebhookDelivery).values(state="failed", lane=None, next_attempt_at=None))
        db.commit()
    module, name = where
    function, tries = getattr(module, name), list[int]()

    def deadlocked(*args: Any, **named: Any) -> Any:
        answer = function(*args, **named)
        tries.append(1)
        if len(tries) == 1:
            raise said(psycopg2.OperationalError, DEADLOCK)
        return answer

    monkeypatch.setattr(module, name, deadlocked)
    with SessionLocal() as db:
        call(db, made)
    assert len(tries) == 2


def delivery_id() -> UUID:
    with SessionLocal() as db:
        return db.scalars(select(WebhookDelivery.id)).one()
