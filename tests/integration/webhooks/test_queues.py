"""Long queues of webhooks: what disables or deletes an endpoint writes its row alone, all else goes in batches."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.ddl.clock import NOW
from app.errors import TookTooLong, TooManyRequests
from app.models.webhook import ClosedLane, WebhookDelivery, WebhookEndpoint
from app.services.webhooks import deliveries as rows, queue, service as services
from app.services.webhooks.service import webhook_service
from tests.support.databases import ENGINE, SLOW
from tests.support.statements import sent_by
from tests.support.tasks import new_user
from tests.support.webhooks import answered, copy_deliveries, deliveries, delivery, ended, endpoint, send, work_off
from tests.unit.outbound.web_server import Web, reply

NUMBER = 5


@pytest.fixture(autouse=True)
def _small_batches(allowed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del allowed
    monkeypatch.setattr(queue, "DROP_BATCH", 2)
    monkeypatch.setattr(rows, "RECOVERY_BATCH", 2)


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


def enable(db: Session, row: WebhookEndpoint, **options: Any) -> None:
    webhook_service.update_endpoint(db, row.user_id, row.id, {"enabled": True}, **options)


def closed(db: Session) -> list[UUID]:
    """The lanes that maintenance has to empty."""
    return list(db.scalars(select(ClosedLane.lane)))


def send_all(db: Session) -> None:
    """As `send`, also where each of many looks drops what it took."""
    for _ in range(NUMBER):
        send(db)


def remove(db: Session, row: WebhookEndpoint) -> None:
    webhook_service.delete_endpoint(db, row.user_id, row.id)


def commits(db: Session, deed: Callable[[], object]) -> int:
    """How many transactions it takes."""
    seen = list[Session]()

    def note(session: Session) -> None:
        if not session.in_nested_transaction():
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
        assert closed(db) == [made.id]
        assert commits(db, lambda: work_off(db)) > (NUMBER + 1) / queue.DROP_BATCH
        assert sorted(states(db)) == ["dropped"] * (NUMBER + 1) + ["pending"]
        assert closed(db) == []

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

    def test_begins_anew_in_one_transaction_and_gets_nothing_of_before(
        self, db: Session, made: WebhookEndpoint, web: Web
    ) -> None:  # fmt: skip
        disable(db, made)
        assert commits(db, lambda: enable(db, made)) == 1
        ended(db, made.user_id)
        send(db)
        assert len(web.seen) == 1
        assert set(states(db)) == {"delivered", "pending", "dropped"}
        work_off(db)
        assert sorted(states(db)) == ["delivered"] + ["dropped"] * NUMBER

    def test_begins_anew_while_maintenance_drops_what_was_queued_before(
        self, db: Session, made: WebhookEndpoint, web: Web
    ) -> None:
        disable(db, made)
        enable(db, made)
        ended(db, made.user_id)
        work_off(db)
        assert sorted(states(db)) == ["dropped"] * NUMBER + ["pending"]
        send(db)
        assert len(web.seen) == 1

    def test_that_a_release_without_lanes_has_enabled_loses_nothing(self, db: Session, made: WebhookEndpoint) -> None:
        disable(db, made)
        db.execute(update(WebhookEndpoint).values(enabled=True))
        db.commit()
        work_off(db)
        assert (states(db), closed(db)) == (["pending"] * NUMBER, [])

    @pytest.mark.parametrize("is_emptied_first", [True, False])
    def test_is_told_of_what_a_leader_without_lanes_has_recorded_since(
        self, db: Session, made: WebhookEndpoint, web: Web, is_emptied_first: bool
    ) -> None:
        disable(db, made)
        enable(db, made)
        ended(db, made.user_id)
        db.execute(update(WebhookDelivery).where(WebhookDelivery.lane == made.present_lane).values(lane=made.id))
        db.commit()
        if is_emptied_first:
            work_off(db)
        send_all(db)
        work_off(db)
        assert (states(db), len(web.seen)) == (["dropped"] * NUMBER + ["delivered"], 1)
        disable(db, made)
        enable(db, made)
        db.execute(update(WebhookDelivery).values(state="pending", lane=made.id, next_attempt_at=NOW))
        db.commit()
        send_all(db)  # recorded before it was enabled for the last time
        assert states(db) == ["dropped"] * (NUMBER + 1)

    def test_begins_anew_in_the_callers_transaction(self, db: Session, made: WebhookEndpoint) -> None:
        disable(db, made)

        assert commits(db, lambda: enable(db, made, commit=False)) == 0
        db.rollback()
        assert not webhook_service.get_endpoint(db, made.user_id, made.id).enabled

    def test_that_is_enabled_keeps_what_is_queued(self, db: Session, made: WebhookEndpoint) -> None:
        enable(db, made)
        work_off(db)
        assert states(db) == ["pending"] * NUMBER

    def test_are_not_those_of_the_urls_of_tasks(self, db: Session, made: WebhookEndpoint, web: Web) -> None:
        ended(db, made.user_id, webhook_url=web.url("/own"))
        disable(db, made)
        send(db)
        assert [seen.path for seen in web.seen] == ["/own"]


class TestRecovery:
    @pytest.fixture(autouse=True)
    def _lost(self, db: Session, made: WebhookEndpoint) -> None:
        disable(db, made)
        enable(db, made)

    @staticmethod
    def recover(db: Session, row: WebhookEndpoint, **options: Any) -> int:
        return webhook_service.recover(db, row.user_id, row.id, deliveries(db)[0].created_at, **options)

    @pytest.mark.parametrize("is_dropped", [True, False])
    def test_is_accepted_in_one_transaction_and_queues_all_in_batches(
        self, db: Session, made: WebhookEndpoint, web: Web, is_dropped: bool
    ) -> None:
        if is_dropped:
            work_off(db)
        found = list[int]()
        assert commits(db, lambda: found.append(self.recover(db, made))) == 1
        assert (found, {each.tries for each in deliveries(db)}) == ([NUMBER], {0})
        assert commits(db, lambda: work_off(db)) > NUMBER / rows.RECOVERY_BATCH
        assert (states(db), rows.running_recoveries(db)) == (["pending"] * NUMBER, {})
        send(db)
        assert (len(web.seen), set(states(db))) == (NUMBER, {"delivered"})

    def test_goes_on_behind_the_batches_that_were_done_before_the_process_died(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work_off(db)
        self.recover(db, made)
        [[its]] = rows.running_recoveries(db).values()
        assert rows.step_recovery(db, its)

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(rows, "queue_again", die)
            with pytest.raises(KeyboardInterrupt):
                rows.step_recovery(db, its)
        db.rollback()
        assert states(db).count("pending") == rows.RECOVERY_BATCH
        send(db)  # what is sent by now is not queued once more
        work_off(db)
        assert sorted(states(db)) == ["delivered"] * rows.RECOVERY_BATCH + ["pending"] * (NUMBER - rows.RECOVERY_BATCH)

    def test_of_an_endpoint_that_is_disabled_meanwhile_is_over(self, db: Session, made: WebhookEndpoint) -> None:
        work_off(db)
        self.recover(db, made)
        disable(db, made)
        work_off(db)
        assert (states(db), rows.running_recoveries(db)) == (["dropped"] * NUMBER, {})

    def test_is_the_callers_without_a_commit(self, db: Session, made: WebhookEndpoint) -> None:
        assert commits(db, lambda: self.recover(db, made, commit=False)) == 0
        db.rollback()
        assert rows.running_recoveries(db) == {}

    @pytest.mark.parametrize(("year", "number"), [(1, NUMBER), (1969, NUMBER), (9999, 0)])
    def test_since_any_time(self, db: Session, made: WebhookEndpoint, year: int, number: int) -> None:
        since = datetime(year, 1, 1, tzinfo=UTC)
        assert webhook_service.recover(db, made.user_id, made.id, since) == number

    @pytest.mark.parametrize("is_since", [True, False])
    def test_is_accepted_although_its_number_takes_too_long(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch, is_since: bool
    ) -> None:
        work_off(db)
        monkeypatch.setattr(get_settings(), "database_costly_read_seconds", 0.05)
        with monkeypatch.context() as patched:
            slow = text(f"({SLOW[ENGINE]}) > 0")
            patched.setattr(rows, "is_lost", lambda *_: slow)
            waiting = partial(webhook_service.send_waiting, user_id=made.user_id, endpoint_id=made.id)
            call = partial(self.recover, row=made) if is_since else waiting
            with pytest.raises(TookTooLong, match="is accepted"):
                call(db)
        assert list(rows.running_recoveries(db)) == [made.user_id]
        work_off(db)
        assert states(db) == ["pending" if is_since else "dropped"] * NUMBER

    def test_of_what_waits_is_counted_by_its_lane(self, db: Session, made: WebhookEndpoint) -> None:
        with sent_by(db.connection()) as said:
            webhook_service.send_waiting(db, made.user_id, made.id)
        [count] = [each for each, _ in said if "count(*)" in each]
        assert ("lane" in count, "endpoint_id" in count) == (True, False)

    def test_is_one_of_a_hundred(self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MOST_RECOVERIES", 1)
        self.recover(db, made)
        with pytest.raises(TooManyRequests, match="recoveries of webhooks"):
            webhook_service.send_waiting(db, made.user_id, made.id)

    def test_a_redelivery_is_sent_although_what_was_queued_before_is_to_be_dropped(
        self, db: Session, made: WebhookEndpoint, web: Web
    ) -> None:
        webhook_service.redeliver(db, made.user_id, made.id, deliveries(db)[0].id)
        work_off(db)
        send(db)
        assert (len(web.seen), sorted(states(db))) == (1, ["delivered"] + ["dropped"] * (NUMBER - 1))
