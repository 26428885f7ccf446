"""Long queues of webhooks: what disables or deletes an endpoint writes its row alone, all else goes in batches."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.models.webhook import WebhookEndpoint
from app.services.webhook_service import webhook_service
from app.services.webhooks import deliveries as rows, dropping, due_lanes, queue
from tests.support.tasks import new_user
from tests.support.webhooks import answered, copy_deliveries, deliveries, delivery, ended, endpoint, send
from tests.unit.outbound.web_server import Web, reply

NUMBER = 5


@pytest.fixture(autouse=True)
def _small_batches(allowed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del allowed
    monkeypatch.setattr(dropping, "BATCH", 2)
    monkeypatch.setattr(rows, "RECOVER_BATCH", 2)


@pytest.fixture
def made(db: Session, web: Web) -> WebhookEndpoint:
    """An endpoint for which NUMBER deliveries are queued."""
    user = new_user(db)
    row = endpoint(db, user, web.url()).row
    ended(db, user)
    copy_deliveries(db, delivery(db), NUMBER - 1)
    return row


def states(db: Session) -> list[str]:
    return [each.state for each in deliveries(db)]


def disable(db: Session, row: WebhookEndpoint) -> None:
    webhook_service.update_endpoint(db, row.user_id, row.id, {"enabled": False})


def remove(db: Session, row: WebhookEndpoint) -> None:
    webhook_service.delete_endpoint(db, row.user_id, row.id)


def commits(db: Session, deed: Callable[[], object]) -> int:
    """How many transactions it takes."""
    seen = list[Session]()

    def note(session: Session) -> None:
        seen.append(session)

    event.listen(db, "after_commit", note)
    try:
        deed()
    finally:
        event.remove(db, "after_commit", note)
    return len(seen)


class TestAnEndpointThatIsDisabledOrGone:
    @pytest.mark.parametrize("deed", [disable, remove])
    def test_is_written_alone_and_maintenance_drops_in_batches(
        self, db: Session, made: WebhookEndpoint, deed: Callable[[Session, WebhookEndpoint], None]
    ) -> None:
        endpoint(db, made.user_id)
        ended(db, made.user_id)  # for both
        deed(db, made)
        assert states(db) == ["pending"] * (NUMBER + 2)
        assert due_lanes.find_unwanted(db) == [made.id]
        assert commits(db, lambda: dropping.drop_unwanted(db, threading.Event())) > (NUMBER + 1) / dropping.BATCH
        assert sorted(states(db)) == ["dropped"] * (NUMBER + 1) + ["pending"]
        assert due_lanes.find_unwanted(db) == []

    @pytest.mark.parametrize("deed", [disable, remove])
    def test_is_sent_nothing_meanwhile(
        self, db: Session, made: WebhookEndpoint, web: Web, deed: Callable[[Session, WebhookEndpoint], None]
    ) -> None:
        deed(db, made)
        send(db)
        assert web.seen == []

    def test_by_410_is_written_alone(self, db: Session, made: WebhookEndpoint, web: Web) -> None:
        web.answer["/"] = reply(410)
        [taken] = queue.take(db, {made.id: 1}, get_settings().accepted_keys)
        answered(db, taken)
        assert not webhook_service.get_endpoint(db, made.user_id, made.id).enabled
        assert sorted(states(db)) == ["failed"] + ["pending"] * (NUMBER - 1)

    def test_begins_anew_once_what_is_left_is_dropped(self, db: Session, made: WebhookEndpoint, web: Web) -> None:
        disable(db, made)
        webhook_service.update_endpoint(db, made.user_id, made.id, {"enabled": True})
        assert states(db) == ["dropped"] * NUMBER
        send(db)
        assert web.seen == []

    def test_begins_anew_in_the_callers_transaction(self, db: Session, made: WebhookEndpoint) -> None:
        disable(db, made)

        def enable() -> None:
            webhook_service.update_endpoint(db, made.user_id, made.id, {"enabled": True}, commit=False)

        assert commits(db, enable) == 0
        db.rollback()
        assert states(db) == ["pending"] * NUMBER

    def test_that_is_enabled_keeps_what_is_queued(self, db: Session, made: WebhookEndpoint) -> None:
        webhook_service.update_endpoint(db, made.user_id, made.id, {"enabled": True})
        assert states(db) == ["pending"] * NUMBER

    def test_are_not_those_of_the_urls_of_tasks(self, db: Session, made: WebhookEndpoint, web: Web) -> None:
        ended(db, made.user_id, webhook_url=web.url("/own"))
        assert due_lanes.find_unwanted(db) == []


class TestRecovery:
    @pytest.fixture(autouse=True)
    def _lost(self, db: Session, made: WebhookEndpoint) -> None:
        disable(db, made)
        webhook_service.update_endpoint(db, made.user_id, made.id, {"enabled": True})

    def test_queues_all_in_batches(self, db: Session, made: WebhookEndpoint) -> None:
        since, found = deliveries(db)[0].created_at, list[int]()

        def recover() -> None:
            found.append(webhook_service.recover(db, made.user_id, made.id, since))

        assert commits(db, recover) > NUMBER / rows.RECOVER_BATCH
        assert (found, states(db)) == ([NUMBER], ["pending"] * NUMBER)

    def test_is_the_callers_without_a_commit(self, db: Session, made: WebhookEndpoint) -> None:
        since = deliveries(db)[0].created_at
        assert commits(db, lambda: webhook_service.recover(db, made.user_id, made.id, since, commit=False)) == 0
        db.rollback()
        assert states(db) == ["dropped"] * NUMBER

    @pytest.mark.parametrize(("year", "number"), [(1, NUMBER), (1969, NUMBER), (9999, 0)])
    def test_since_any_time(self, db: Session, made: WebhookEndpoint, year: int, number: int) -> None:
        since = datetime(year, 1, 1, tzinfo=UTC)
        assert webhook_service.recover(db, made.user_id, made.id, since) == number
