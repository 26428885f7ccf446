"""What came of webhooks whose rows or endpoints changed meanwhile, and of outcomes that cannot be written."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook

from app.core.config import get_settings
from app.core.json_text import dump_json
from app.errors import TooManyRequests
from app.models.webhook import DELIVERY_BYTES, WebhookDelivery, WebhookEndpoint
from app.services.webhooks import deliveries as rows, queue, sender as outcomes, service as services
from app.services.webhooks.queue import Outcome, Taken
from app.services.webhooks.sender import MOST_ATTEMPTS
from app.services.webhooks.service import webhook_service
from tests.support.database_errors import said
from tests.support.tasks import new_user
from tests.support.waiting import wait_for
from tests.support.webhooks import (
    copy_deliveries,
    deliveries,
    delivery,
    due_again,
    ended,
    endpoint,
    send,
    sender,
    work_off,
    write,
)
from tests.unit.outbound.web_server import Web, reply

pytestmark = pytest.mark.usefixtures("allowed")

LOCKED = "55P03"


@pytest.fixture
def made(db: Session, web: Web) -> WebhookEndpoint:
    """An endpoint with one delivery."""
    user = new_user(db)
    web.answer["/new"] = reply(204)
    row = endpoint(db, user, web.url()).row
    ended(db, user)
    return row


def take(db: Session, row: WebhookEndpoint) -> Taken:
    [taken] = queue.take(db, {row.id: 1}, get_settings().accepted_keys)
    return taken


def outcome(status: int, **more: Any) -> Outcome:
    return Outcome(datetime.now(UTC), 0.1, status, **more)


def enabled(db: Session, row: WebhookEndpoint) -> bool:
    return webhook_service.get_endpoint(db, row.user_id, row.id).enabled


def change(db: Session, row: WebhookEndpoint, **fields: Any) -> None:
    webhook_service.update_endpoint(db, row.user_id, row.id, fields)


def queue_anew(db: Session, row: WebhookEndpoint, taken: Taken) -> None:
    assert rows.queue_again(db, row, WebhookDelivery.id == taken.id) == 1
    db.commit()


class TestALateOutcome:
    @pytest.mark.parametrize(("status", "state"), [(204, "delivered"), (500, "dropped"), (410, "dropped")])
    def test_of_what_was_dropped_meanwhile_is_kept(
        self, db: Session, made: WebhookEndpoint, status: int, state: str
    ) -> None:
        write(db, (take(db, made), outcome(503)))
        due_again(db)
        taken = take(db, made)
        change(db, made, enabled=False)
        change(db, made, enabled=True)
        work_off(db)
        assert delivery(db).state == "dropped"
        write(db, (taken, outcome(status)))
        found = delivery(db)
        assert (found.state, found.next_attempt_at) == (state, None)
        assert [each["status_code"] for each in found.attempts] == [503, status]
        assert enabled(db, made)

    def test_of_what_was_queued_anew_changes_nothing(self, db: Session, made: WebhookEndpoint) -> None:
        taken = take(db, made)
        queue_anew(db, made, taken)
        write(db, (taken, outcome(410)))
        assert (delivery(db).state, delivery(db).attempts, enabled(db, made)) == ("pending", [], True)

    @pytest.mark.parametrize("status", [410, 500, 204])
    def test_of_a_former_url_says_nothing_of_the_new_one(
        self, db: Session, made: WebhookEndpoint, web: Web, status: int
    ) -> None:
        write(db, (take(db, made), outcome(500)))
        due_again(db)
        taken = take(db, made)
        before = webhook_service.get_endpoint(db, made.user_id, made.id).updated_at
        change(db, made, url=web.url("/new"))
        write(db, (taken, outcome(status)))
        row = webhook_service.get_endpoint(db, made.user_id, made.id)
        assert (row.enabled, row.failing_since, row.updated_at > before) == (True, None, True)

    def test_failures_are_no_change_of_the_endpoint(self, db: Session, made: WebhookEndpoint) -> None:
        before = webhook_service.get_endpoint(db, made.user_id, made.id).updated_at
        write(db, (take(db, made), outcome(500)))
        row = webhook_service.get_endpoint(db, made.user_id, made.id)
        assert (row.failing_since is not None, row.updated_at) == (True, before)


class TestARedelivery:
    def test_of_what_is_under_way_changes_nothing_and_loses_no_attempt(
        self, db: Session, made: WebhookEndpoint
    ) -> None:
        taken = take(db, made)
        shown = webhook_service.redeliver(db, made.user_id, made.id, taken.id)
        assert (shown.state, shown.next_attempt_at) == ("pending", taken.lease)
        write(db, (taken, outcome(503)))
        assert [each["status_code"] for each in delivery(db).attempts] == [503]

    def test_of_what_waits_for_longer_is_sent_now(self, db: Session, made: WebhookEndpoint) -> None:
        write(db, (take(db, made), outcome(429, retry_after=3600.0)))
        assert queue.take(db, {made.id: 1}, get_settings().accepted_keys) == []
        webhook_service.redeliver(db, made.user_id, made.id, delivery(db).id)
        assert take(db, made).id == delivery(db).id

    def test_of_what_failed_days_ago_has_its_three_days_from_now_on(self, db: Session, made: WebhookEndpoint) -> None:
        days_ago = Outcome(datetime.now(UTC) - timedelta(days=4), 0.1, 503, retry_after=3600.0)
        write(db, (take(db, made), days_ago))
        webhook_service.redeliver(db, made.user_id, made.id, delivery(db).id)
        write(db, (take(db, made), outcome(503)))
        assert (delivery(db).state, len(delivery(db).attempts)) == ("pending", 2)

    def test_is_one_of_a_thousand(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        monkeypatch.setattr(services, "MOST_REDELIVERIES", 2)
        for _ in range(2):
            webhook_service.redeliver(db, made.user_id, made.id, delivery(db).id)
        with pytest.raises(TooManyRequests, match="redeliveries of webhooks"):
            webhook_service.redeliver(db, made.user_id, made.id, delivery(db).id)


class TestWhatIsReady:
    """More of a fast receiver is in memory than is under way."""

    NUMBER = 40

    @pytest.mark.parametrize(
        ("deed", "state", "path"),
        [
            ("url", "delivered", "/new"),
            ("rotate", "delivered", "/"),
            ("disable", "dropped", None),
            ("delete", "dropped", None),
        ],
    )
    def test_is_not_sent_as_it_was_once_the_endpoint_has_changed(
        self, db: Session, made: WebhookEndpoint, web: Web, monkeypatch: pytest.MonkeyPatch,
        deed: str, state: str, path: str | None,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(outcomes, "LOOK_SECONDS", 0.0)
        # What is given back is due at the time at which it was recorded, long before the last look.
        copy_deliveries(db, delivery(db), self.NUMBER - 1, created_at=datetime.now(UTC) - timedelta(hours=1))
        one, go_on = sender(), threading.Event()

        def answer(request: BaseHTTPRequestHandler) -> None:
            if len(web.seen) > 1:  # the first one shows that it is fast
                go_on.wait(20)
            reply(204)(request)

        web.answer["/"] = answer
        wait_for(lambda: one.step(db) and len(web.seen) == 5, 20, "four under way")
        one.step(db)  # a look that finds nothing due any more
        deeds: dict[str, Callable[[], Any]] = {
            "url": lambda: change(db, made, url=web.url("/new")),
            "rotate": lambda: webhook_service.rotate_secret(db, made.user_id, made.id, 0),
            "disable": lambda: change(db, made, enabled=False),
            "delete": lambda: webhook_service.delete_endpoint(db, made.user_id, made.id),
        }
        changed = deeds[deed]()
        one.step(db)
        go_on.set()
        send(db, one)
        assert {seen.path for seen in web.seen[5:]} == ({path} if path else set())
        assert len(web.seen) == (self.NUMBER if path else 5)
        if deed == "rotate":
            for seen in web.seen[5:]:
                Webhook(changed.secret).verify(seen.body, seen.headers)
        assert sorted(each.state for each in deliveries(db)) == ["delivered"] * 5 + [state] * (self.NUMBER - 5)

    def test_nor_is_what_was_queued_anew(self, db: Session, made: WebhookEndpoint) -> None:
        taken = take(db, made)
        assert queue.find_stale(db, [taken]) == set()
        queue_anew(db, made, taken)
        assert queue.find_stale(db, [taken]) == {taken.id}
        queue.give_back(db, [taken], WebhookDelivery.created_at)
        assert delivery(db).next_attempt_at > delivery(db).created_at

    def test_is_sent_before_what_came_later_once_it_is_given_back(self, db: Session, made: WebhookEndpoint) -> None:
        first = delivery(db)
        later = first.created_at + timedelta(microseconds=1000)
        copy_deliveries(db, first, 1, created_at=later, next_attempt_at=later)
        taken = take(db, made)
        queue.give_back(db, [taken], WebhookDelivery.created_at)
        assert (taken.id, take(db, made).id) == (first.id, first.id)


class TestAnOutcomeThatCannotBeWritten:
    def test_costs_the_others_nothing(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy_deliveries(db, delivery(db), 4)
        bad = deliveries(db)[2]
        db.execute(update(WebhookDelivery).where(WebhookDelivery.id == bad.id).values(event_id=UUID(int=1)))
        db.commit()

        def odd(_client: object, message: queue.Message) -> Outcome:
            if message.event_id == UUID(int=1):
                return outcome(503, error=object())  # no JSON
            time.sleep(0.02)  # so that several are written at once
            return outcome(204)

        monkeypatch.setattr(queue, "send", odd)
        send(db)
        found = {each.id: each.state for each in deliveries(db)}
        assert found.pop(bad.id) == "pending"
        assert set(found.values()) == {"delivered"}

    def test_because_of_a_lock_is_written_again(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries, write_outcomes = list[int](), outcomes.write_outcomes

        def locked(db: Session, ended: Any) -> Any:
            tries.append(len(ended))
            if len(tries) == 1:
                raise said(psycopg2.OperationalError, LOCKED)
            return write_outcomes(db, ended)

        monkeypatch.setattr(outcomes, "write_outcomes", locked)
        send(db)
        assert (tries, delivery(db).state) == ([1, 1], "delivered")

    def test_is_not_what_cannot_be_noted_of_its_endpoint(
        self, db: Session, made: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(*_: object) -> None:
            raise said(psycopg2.OperationalError, LOCKED)

        monkeypatch.setattr(outcomes, "note_endpoints", locked)
        send(db)
        assert delivery(db).state == "delivered"


class TestBytes:
    def test_are_of_the_row_its_body_and_the_attempts_that_are_kept(self, db: Session, made: WebhookEndpoint) -> None:
        assert delivery(db).bytes == DELIVERY_BYTES
        for number in (1, MOST_ATTEMPTS, MOST_ATTEMPTS):
            taken = take(db, made)
            attempts = taken.attempts * (number if number == MOST_ATTEMPTS else 1)
            db.execute(update(WebhookDelivery).values(attempts=attempts))
            due_again(db)
            write(db, (take(db, made), outcome(500, answer="é" * 100)))
            found = delivery(db)
            assert found.body is not None
            assert found.bytes == DELIVERY_BYTES + len(found.body) + len(dump_json(found.attempts).encode())
            assert len(found.attempts) == number
            due_again(db)
