"""The pass that sends what is due: in which order, of whose receivers, and until when deliveries are kept."""

import json
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.fork import PerProcess
from app.core.ids import first_id_at, new_id
from app.ddl.clock import NOW
from app.maintenance.passes import backlogs as passes
from app.maintenance.rounds import Round
from app.models.webhook import DeliveryState, WebhookDelivery
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.webhooks import lanes as due_lanes, new_deliveries, queue
from app.services.webhooks.lanes import DueLanes
from app.services.webhooks.sender import sender_of
from tests.support.plans import analyze, plan_of
from tests.support.retention import forget
from tests.support.statements import sent_by
from tests.support.tasks import ERROR, finish, new_user
from tests.support.waiting import wait_for
from tests.support.webhooks import (
    LOOPBACK,
    an_outcome,
    copy_deliveries,
    deliveries,
    delivery,
    due_again,
    ended,
    endpoint,
    record,
    send,
    sender,
    write,
)
from tests.unit.outbound.web_server import Web, reply

pytestmark = pytest.mark.usefixtures("allowed")


class TestThePass:
    def test_sends_what_is_due(
        self, db: Session, user: UUID, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "SENDER", PerProcess(lambda: None))  # else that of the settings of another test
        endpoint(db, user, web.url())
        ended(db, user)
        this = Round(get_settings(), None, threading.Event())
        while passes.SEND_WEBHOOKS.run(db, this) is not None:
            """Something is under way, or due."""
        assert delivery(db).state == "delivered"

    def test_sends_to_a_receiver_over_kept_connections(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(204)
        endpoint(db, user, web.url())
        one = sender_of(LOOPBACK, get_settings().accepted_keys)
        for _ in range(6):
            ended(db, user)
            send(db, one)
        one.let_go(db)
        assert (len(web.seen), len(web.connections)) == (6, 1)

    def test_that_is_stopped_writes_what_is_under_way(self, db: Session, user: UUID, web: Web) -> None:
        stopping = threading.Event()

        def slowly(request: BaseHTTPRequestHandler) -> None:
            stopping.set()
            time.sleep(0.3)  # the request, and no synchronisation
            reply(200)(request)

        web.answer["/"] = slowly
        endpoint(db, user, web.url())
        ended(db, user)
        sender().run(db, stopping)
        assert delivery(db).state == "delivered"

    def test_that_leads_no_more_leaves_the_rest_to_another_sender(self, db: Session, user: UUID, web: Web) -> None:
        leads, first = threading.Event(), sender()
        leads.set()
        endpoint(db, user, web.url())
        ended(db, user)
        send(db, first)  # the receiver is known to be fast: the next ones are kept ready

        def slowly(request: BaseHTTPRequestHandler) -> None:
            leads.clear()
            time.sleep(0.3)  # the request, and no synchronisation
            reply(200)(request)

        web.answer["/"] = slowly
        for _ in range(20):
            ended(db, user)
        first.run(db, threading.Event(), leads.is_set)
        wait_for(lambda: not first.let_go(db), 20, "what was under way to be written")
        states = [each.state for each in deliveries(db)]
        assert 2 <= states.count("delivered") < len(states)
        web.answer["/"] = reply(200)
        send(db, sender())
        assert [(each.state, len(each.attempts)) for each in deliveries(db)] == [("delivered", 1)] * 21


class TestOrder:
    @pytest.mark.parametrize("clock_minutes", [0, -10])
    def test_a_first_attempt_waits_for_that_of_the_event_before_and_not_for_its_retries(
        self, db: Session, user: UUID, web: Web, clock_minutes: int
    ) -> None:
        web.answer["/"] = reply(500)
        made = endpoint(db, user, web.url()).row
        task = ended(db, user, ends.failed(ERROR))
        task_service.retry_task(db, task.id)
        finish(db, task)
        record(db)
        put_back = WebhookDelivery.event_at + timedelta(minutes=clock_minutes)
        db.execute(update(WebhookDelivery).where(WebhookDelivery.generation == 2).values(event_at=put_back))
        db.commit()
        keys = get_settings().accepted_keys
        [first] = queue.take(db, {made.id: 4}, keys)
        assert queue.take(db, {made.id: 4}, keys) == []
        write(db, (first, an_outcome(web)))
        [second] = queue.take(db, {made.id: 4}, keys)
        kinds = [json.loads(each.message.body)["type"] for each in (first, second)]
        assert kinds == ["task.failed", "task.succeeded"]


class TestTheLook:
    WAITING, ROWS_OF_EACH = 30, 100  # fewer rows an engine may read whole

    @pytest.fixture
    def lanes(self, db: Session, user: UUID) -> DueLanes:
        """Of a sender that has looked once, while many lanes wait for a later time."""
        endpoint(db, user)
        ended(db, user)
        its = delivery(db)
        for _ in range(self.WAITING):
            later = its.created_at + timedelta(hours=10)
            copy_deliveries(db, its, self.ROWS_OF_EACH, lane=new_id(), next_attempt_at=later)
        analyze(db.connection(), "webhook_deliveries")
        lanes = DueLanes()
        lanes.find(db)
        return lanes

    def test_reads_what_is_due_and_nothing_of_the_lanes_that_wait(self, db: Session, lanes: DueLanes) -> None:
        with sent_by(db.connection()) as sent:
            assert len(lanes.find(db)) == 1
        looks = [each for each in sent if each[0].startswith(("SELECT", "WITH")) and "webhook_deliveries" in each[0]]
        read = [len(db.connection().exec_driver_sql(*each).all()) for each in looks]
        assert 0 < sum(read) < 5
        assert "ix_webhook_deliveries_next" in plan_of(db.connection(), *looks[0]).indexes

    def test_finds_what_has_become_due_since(
        self, db: Session, user: UUID, lanes: DueLanes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(due_lanes, "find_due_lanes", lambda _: pytest.fail("it walks through all lanes"))
        [waiting, *_] = [each for each in deliveries(db) if each.next_attempt_at > each.created_at]
        db.execute(update(WebhookDelivery).where(WebhookDelivery.id == waiting.id).values(next_attempt_at=NOW))
        other = endpoint(db, user).row
        ended(db, user)
        assert {waiting.lane, other.id} < {each.lane for each in lanes.find(db)}

    @pytest.mark.parametrize(("seconds_late", "after_seconds"), [(1.0, 30.0), (20.0, 0.0)])
    def test_finds_what_is_committed_after_the_time_at_which_it_is_due(
        self, db: Session, lanes: DueLanes, monkeypatch: pytest.MonkeyPatch, seconds_late: float, after_seconds: float
    ) -> None:
        """Soon; or by the walk through all lanes, if it is too late for that."""
        monkeypatch.setattr(due_lanes, "WALK_SECONDS", after_seconds)
        lane = new_id()
        due = db.execute(select(NOW)).scalar_one() - timedelta(seconds=seconds_late)
        copy_deliveries(db, deliveries(db)[0], 1, lane=lane, next_attempt_at=due)
        assert lane in {each.lane for each in lanes.find(db)}


class TestFairness:
    def test_thousands_of_events_of_a_dead_endpoint_are_not_read_for_another_ones(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        dead, alive = endpoint(db, user).row, endpoint(db, new_user(db), web.url()).row
        ended(db, user)
        ended(db, alive.user_id)
        template = next(each for each in deliveries(db) if each.endpoint_id == dead.id)
        copy_deliveries(db, template, 2000)
        assert {each.lane for each in due_lanes.find_due_lanes(db)} == {dead.id, alive.id}
        taken = queue.take(db, {dead.id: 4, alive.id: 4}, get_settings().accepted_keys)
        assert [each.lane for each in taken].count(dead.id) == 4
        assert [each.lane for each in taken].count(alive.id) == 1

    def test_the_hosts_that_one_user_names_are_of_a_few_lanes(self, user: UUID) -> None:
        lanes = {new_deliveries.lane_of_url(user, f"https://host-{number}.example.com/x") for number in range(2000)}
        assert len(lanes) == new_deliveries.LANES_OF_URLS
        same = {new_deliveries.lane_of_url(user, f"https://one.example.com/{number}") for number in range(100)}
        assert len(same) == 1
        assert new_deliveries.lane_of_url(new_id(), "https://one.example.com/") not in same

    def test_the_url_of_a_task_that_has_failed_before_is_known_to_fail(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(500)
        ended(db, user, webhook_url=web.url())
        assert [each.failing for each in due_lanes.find_due_lanes(db)] == [False]
        send(db)
        due_again(db)
        assert [each.failing for each in due_lanes.find_due_lanes(db)] == [True]


def test_deliveries_are_forgotten_after_thirty_days(db: Session, user: UUID) -> None:
    endpoint(db, user)
    ended(db, user)
    old = delivery(db)
    columns = [column.name for column in WebhookDelivery.__table__.c]
    values = {name: getattr(old, name) for name in columns}
    db.execute(insert(WebhookDelivery.__table__), [values | {"id": first_id_at(time.time() - 31 * 86_400)}])
    db.commit()
    assert forget(db, "webhook_deliveries") == 1
    assert delivery(db).id == old.id
    assert delivery(db).state == DeliveryState.PENDING
