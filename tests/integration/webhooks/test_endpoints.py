"""Endpoints of webhooks: how many, which, whose, with which secret."""

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook

from app.core.config import get_settings
from app.errors import InvalidWebhook, TooManyRequests, WebhookDisabled, WebhookLimit, WebhookNotFound, WebhooksOff
from app.models import User
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.accounts import login_throttle
from app.services.webhooks.service import webhook_service
from tests.support.settings import settings
from tests.support.tasks import new_user
from tests.support.webhooks import ALLOWED, bodies, deliveries, delivery, ended, endpoint, send
from tests.unit.outbound.web_server import Web

pytestmark = pytest.mark.usefixtures("allowed")


class TestEndpoints:
    def test_twenty_a_user(self, db: Session, user: UUID) -> None:
        for _ in range(20):
            endpoint(db, user)
        with pytest.raises(WebhookLimit):
            endpoint(db, user)
        assert len(webhook_service.list_endpoints(db, user)) == 20

    def test_without_secret_key_the_error_names_it(self, db: Session, user: UUID) -> None:
        with settings({"SECRET_KEY": ""}), pytest.raises(WebhooksOff) as refused:
            endpoint(db, user)
        assert "SECRET_KEY" in refused.value.title
        assert "WEBHOOK_SECRET" not in refused.value.title + refused.value.detail

    def test_one_that_is_deleted_gets_nothing_more(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        webhook_service.delete_endpoint(db, user, made.id)
        send(db)
        assert (web.seen, delivery(db).state) == ([], "dropped")
        with pytest.raises(WebhookNotFound):
            webhook_service.get_endpoint(db, user, made.id)

    def test_what_is_recorded_beside_a_deletion_is_dropped_when_it_would_be_sent(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        endpoint(db, user, web.url())
        ended(db, user)
        db.execute(delete(WebhookEndpoint))
        db.commit()
        send(db)
        assert (web.seen, delivery(db).state) == ([], "dropped")

    def test_another_users_is_not_there(self, db: Session, user: UUID) -> None:
        made, other = endpoint(db, user).row, new_user(db)
        calls: list[Callable[[], Any]] = [
            lambda: webhook_service.get_endpoint(db, other, made.id),
            lambda: webhook_service.update_endpoint(db, other, made.id, {"enabled": False}),
            lambda: webhook_service.delete_endpoint(db, other, made.id),
            lambda: webhook_service.rotate_secret(db, other, made.id),
            lambda: webhook_service.send_test(db, other, made.id),
            lambda: webhook_service.list_deliveries(db, other, made.id),
        ]
        for call in calls:
            with pytest.raises(WebhookNotFound):
                call()

    @pytest.mark.parametrize(
        "fields",
        [
            {"url": "http://10.0.0.1/"},
            {"url": "ftp://example.com/"},
            {"events": []},
            {"events": ["task.started"]},
            {"filter": {"name": "x"}},
            {"description": "x" * 501},
        ],
    )
    def test_an_invalid_one_is_refused(self, db: Session, user: UUID, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidWebhook):
            endpoint(db, user, **({"url": "https://example.com/"} | fields))

    def test_a_test_event_is_a_delivery_and_a_disabled_endpoint_gets_none(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url()).row
        webhook_service.send_test(db, user, made.id)
        send(db)
        assert [body["type"] for body in bodies(web)] == ["webhook.test"]
        webhook_service.update_endpoint(db, user, made.id, {"enabled": False})
        with pytest.raises(WebhookDisabled):
            webhook_service.send_test(db, user, made.id)

    def test_so_many_test_events_are_sent(self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(login_throttle, "CHANGES_PER_USER", 2)
        made = endpoint(db, user).row
        for _ in range(2):
            webhook_service.send_test(db, user, made.id)
        with pytest.raises(TooManyRequests, match="webhook tests"):
            webhook_service.send_test(db, user, made.id)
        assert db.scalar(select(func.count()).where(WebhookDelivery.endpoint_id == made.id)) == 2

    def test_the_secret_is_encrypted_and_renewed_with_a_new_key(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url())
        key = base64.b64decode(made.secret.removeprefix("whsec_"))
        assert key not in bytes(made.row.secret)
        old = get_settings().secret_key
        assert old is not None
        changed = {"SECRET_KEY": "another key " * 4, "SECRET_KEY_PREVIOUS": json.dumps([old.get_secret_value()])}
        with settings(changed):
            assert webhook_service.renew_encryption(db) == 1
            assert webhook_service.renew_encryption(db) == 0
        with settings({"SECRET_KEY": "another key " * 4}):
            ended(db, user)
            send(db)
        Webhook(made.secret).verify(web.seen[0].body, web.seen[0].headers)

    def test_of_a_user_who_may_not_send_any_more_get_nothing(self, db: Session, user: UUID, web: Web) -> None:
        endpoint(db, user, web.url())
        ended(db, user)
        with settings(ALLOWED | {"OUTBOUND_USERS": '["role:admin"]'}):
            send(db)
        assert (delivery(db).state, web.seen) == ("dropped", [])
        ended(db, user)
        send(db)
        assert len(web.seen) == 1

    def test_a_recovery_since_a_time_without_an_offset_says_so(self, db: Session, user: UUID) -> None:
        made = endpoint(db, user).row
        with pytest.raises(InvalidWebhook, match="with an offset") as refused:
            webhook_service.recover(db, user, made.id, datetime(2026, 11, 1))  # noqa: DTZ001 (the mistake)
        assert refused.value.errors[0]["loc"] == ["since"]

    def test_goes_with_its_user(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        ended(db, user)
        db.execute(delete(User).where(User.id == user))
        db.commit()
        assert deliveries(db) == []
        assert db.scalar(select(func.count()).select_from(WebhookEndpoint)) == 0
