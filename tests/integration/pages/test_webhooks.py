"""The pages of webhooks: endpoints, their secrets and deliveries, and those of a task."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from app.db.session import SessionLocal
from app.ddl.clock import NOW
from app.models.webhook import EventType, WebhookEndpoint
from app.services.accounts import login_throttle
from app.services.webhooks import deliveries, new_deliveries
from app.services.webhooks.new_deliveries import Event
from app.services.webhooks.service import webhook_service
from tests.support import webhooks
from tests.support.page_reader import Reader, cells, heading, words, wrong
from tests.support.schedules import new_schedule
from tests.support.settings import settings
from tests.support.task_client import TaskClient
from tests.support.tasks import flush_admitter
from tests.support.webhooks import copy_deliveries
from tests.unit.outbound.web_server import Web, reply

FORM = {"url": "http://127.0.0.1:9/hooks", "events": ["task.succeeded", "task.failed"]}


@pytest.fixture(autouse=True)
def _allowed() -> Iterator[None]:
    with settings({"OUTBOUND_ALLOW": '["127.0.0.0/8"]'}):
        yield


def create(reader: Reader, **fields: Any) -> str:
    """The id of a new endpoint."""
    made = reader.post("/webhooks", **FORM | fields)
    assert made.status_code == 200, made.text
    return re.findall(r'href="/ui/webhooks/([0-9a-f-]{36})"', made.text)[0]


def send() -> None:
    """Record what has ended, and send what is due."""
    with SessionLocal() as db:
        webhooks.record(db)
        webhooks.send(db)


def work_off() -> None:
    with SessionLocal() as db:
        webhooks.work_off(db)


def change(**values: Any) -> None:
    with SessionLocal() as db:
        db.execute(update(WebhookEndpoint).values(values))
        db.commit()


def lead(page: str) -> str:
    return words(re.findall(r'<p class="[^"]*\blead\b[^"]*">(.*?)</p>', page, re.DOTALL)[0])


class TestEndpoints:
    def test_are_made_shown_changed_and_deleted(self, reader: Reader) -> None:
        assert "You have no endpoints" in reader.get("/webhooks").text
        made = reader.post("/webhooks", **FORM, tag="nightly", description="Billing")
        (secret,) = re.findall(r'<pre id="secret"[^>]*>(whsec_[^<]+)</pre>', made.text)
        one = create(reader)
        for path in ("/webhooks", f"/webhooks/{one}", f"/webhooks/{one}/change"):
            assert secret not in reader.get(path).text
        first, second = cells(reader.get("/webhooks").text, "webhooks")
        assert first == [
            "http://127.0.0.1:9/hooks Billing", "enabled", "task.succeeded , task.failed", "tag nightly", "none yet",
        ]  # fmt: skip
        assert second[3] == "all tasks"
        form = reader.get(f"/webhooks/{one}/change").text
        assert '<option value="app.tasks.common_tasks.long_running_task">' in form
        assert re.findall(r'value="([\w.]+)" checked', form) == FORM["events"]
        changed = reader.post(f"/webhooks/{one}/change", url=FORM["url"], events="task.failed", task_type="report")
        assert (changed.status_code, changed.headers["location"]) == (303, f"/ui/webhooks/{one}")
        page = reader.get(f"/webhooks/{one}").text
        assert "The endpoint is changed." in page
        assert "<code>task.succeeded</code>" not in page
        assert "<code>task_type</code> <bdi>report</bdi>" in page
        assert heading(reader.post(f"/webhooks/{one}/delete").text) == f"Delete: {FORM['url']}"
        assert reader.post(f"/webhooks/{one}/delete", confirmed="true").status_code == 303
        assert reader.get(f"/webhooks/{one}").status_code == 404

    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_say_of_each_event_when_it_is_sent(self, reader: Reader, language: str) -> None:
        """All that can be chosen is sent: recording takes these types, and no other."""
        reader.cookies["language"] = language
        form = reader.get("/webhooks/new").text
        said = dict(re.findall(r'<code>([\w.]+)</code> <span class="quiet">(.*?)</span>', form))
        assert said.keys() == {each.value for each in EventType}
        assert len(set(said.values())) == len(said)
        assert not [each for each in said.values() if "version" in each or "版本" in each]
        assert all(each.isascii() == (language == "en") for each in said.values())

    @pytest.mark.parametrize(
        ("typed", "field", "said"),
        [
            ({"url": "http://10.0.0.1/"}, "url", "not a public"),
            ({"url": "nonsense"}, "url", "http"),
            ({"events": []}, "events", ""),
            ({"events": ["task.started"]}, "events", "must be 'task.succeeded'"),
            ({"tag": "x" * 300}, "tag", ""),
            ({"description": "x" * 501}, "description", ""),
        ],
    )
    def test_that_are_wrong_are_refused_with_what_was_typed(
        self, reader: Reader, typed: dict[str, Any], field: str, said: str
    ) -> None:
        for path in ("/webhooks", f"/webhooks/{create(reader)}/change"):
            answer = reader.post(path, **FORM | {"task_type": "mine"} | typed)
            assert (answer.status_code, 'value="mine"' in answer.text) == (422, True)
            told = re.findall(rf'id="{field}-error">(.*?)</p>', answer.text)
            assert len(told) == 1, words(answer.text)
            assert said in html.unescape(told[0])
            assert field == "events" or wrong(answer.text).keys() == {field}
            reader.cookies["language"] = "zh"
            assert "接收端" in heading(reader.post(path, **FORM | typed).text)
            del reader.cookies["language"]

    def test_say_which_of_them_get_nothing_and_why(self, reader: Reader) -> None:
        one = create(reader)
        assert lead(reader.get("/webhooks").text).startswith("Nothing has been sent yet.")
        for values, state, said in (
            ({"failing_since": NOW - timedelta(hours=3)}, "failing since 20", "gets nothing: every attempt has failed since 20"),
            ({"enabled": False, "disabled_reason": "gone", "disabled_at": NOW}, "disabled since 20", "answered 410 (gone): now"),
            ({"disabled_reason": "failing"}, "disabled since 20", "nothing got through for five days: now"),
        ):  # fmt: skip
            change(**values)
            page = reader.get("/webhooks").text
            assert (said in lead(page), lead(page).startswith("127.0.0.1:9/hooks ")) == (True, True)
            assert cells(page, "webhooks")[0][1].startswith(state)
            overview = f'<a href="/ui/webhooks/{one}">127.0.0.1:9/hooks gets no webhooks</a>'
            assert overview in reader.get("/").text
            page = reader.get(f"/webhooks/{one}").text
            assert lead(page).startswith("It ")
            assert (said in lead(page), "verdict well" in page) == (True, False)
        change(enabled=False, disabled_at=NOW, disabled_reason=None)
        assert lead(reader.get("/webhooks").text) == "No endpoint is enabled: none is told of anything."

    def test_are_disabled_and_enabled_again(self, reader: Reader) -> None:
        one = create(reader)
        assert heading(reader.post(f"/webhooks/{one}/disable").text).startswith("Disable: ")
        reader.post(f"/webhooks/{one}/disable", confirmed="true")
        page = reader.get(f"/webhooks/{one}").text
        assert ("The endpoint is disabled: it is told of nothing." in page, "Send a test event" in page) == (
            True,
            False,
        )
        for deed in ("test", "recover", "send-waiting"):
            refused = reader.post(f"/webhooks/{one}/{deed}", since="2026-11-24 12:00")
            assert (refused.status_code, "enable it first" in refused.text) == (409, True)
        reader.post(f"/webhooks/{one}/enable")
        assert lead(reader.get(f"/webhooks/{one}").text) == "Nothing has been sent yet."

    def test_have_a_new_secret_once_it_is_rotated(self, reader: Reader) -> None:
        one = create(reader)
        for grace, signs, ended in (("3600", True, False), ("0", False, True), ("nonsense", True, False)):
            page = reader.post(f"/webhooks/{one}/rotate", grace=grace).text
            assert len(re.findall(r'<pre id="secret"[^>]*>whsec_', page)) == 1
            assert ("The old one signs beside it until" in page) is signs
            assert ("The secret before the old one, which was to sign until" in page) is ended
            page = reader.get(f"/webhooks/{one}").text
            assert ("signs too, until" in page) is signs
            assert ("if you rotate now, that one signs no more" in page) is signs

    def test_show_a_secret_beside_no_link_that_leads_away_from_it(self, reader: Reader) -> None:
        one = create(reader)
        for page in (reader.post("/webhooks", **FORM), reader.post(f"/webhooks/{one}/rotate", grace="3600")):
            assert ("whsec_" in page.text, "/choices/" in page.text) == (True, False)
        assert "/choices/language" in reader.get(f"/webhooks/{one}").text

    def test_are_their_owners_alone(self, reader: Reader, stranger: Reader, administrator: Reader, web: Web) -> None:
        one = create(reader, url=web.url())
        reader.post(f"/webhooks/{one}/test")
        (delivery,) = re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', reader.get(f"/webhooks/{one}").text)
        for other in (stranger, administrator):
            assert one not in other.get("/webhooks").text
            for path in (f"/webhooks/{one}", f"/webhooks/{one}/change"):
                assert other.get(path).status_code == 404
            for deed in ("test", "rotate", "enable", "disable", "delete", "recover", "send-waiting", "change"):
                form = FORM | {"since": "2026-11-24", "confirmed": "true"}
                assert other.post(f"/webhooks/{one}/{deed}", **form).status_code == 404, deed
            assert other.post(f"{delivery}/redeliver").status_code == 404
        assert (stranger.get(delivery).status_code, "Send again" in administrator.get(delivery).text) == (404, False)

    def test_are_not_made_by_users_who_may_send_nothing(self, reader: Reader) -> None:
        one = create(reader)
        with settings({"OUTBOUND_USERS": "role:admin"}):
            assert reader.post("/webhooks", **FORM).status_code == 403
            assert reader.post(f"/webhooks/{one}/change", **FORM | {"url": "http://127.0.0.2/"}).status_code == 403
            assert reader.post(f"/webhooks/{one}/change", **FORM).status_code == 303

    def test_beyond_the_limit_are_refused_with_what_was_typed(self, reader: Reader, account: dict[str, Any]) -> None:
        with SessionLocal() as db:
            for _ in range(20):
                webhook_service.create_endpoint(db, UUID(account["id"]), FORM["url"], FORM["events"])
        assert "New endpoint" not in reader.get("/webhooks").text
        refused = reader.post("/webhooks", **FORM)
        assert (refused.status_code, f'value="{FORM["url"]}"' in refused.text) == (409, True)
        assert "You have too many webhook endpoints" in refused.text


class TestDeliveries:
    def test_a_test_event_shows_what_was_sent_and_answered(self, reader: Reader, web: Web) -> None:
        web.answer["/"] = reply(200, b"thank <b>you</b>")
        one = create(reader, url=web.url())
        assert reader.post(f"/webhooks/{one}/test").status_code == 303
        page = reader.get(f"/webhooks/{one}").text
        assert "The test event is on its way." in page
        assert lead(page) == "It gets what it should. 1 delivery waits."
        assert cells(page, "deliveries")[0][:5] == ["webhook.test", "pending", "–", "0", "–"]
        send()
        page = reader.get(f"/webhooks/{one}").text
        assert lead(page) == "It gets what it should: nothing waits."
        assert cells(page, "deliveries")[0][:5] == ["webhook.test", "delivered", "–", "1", "200"]
        assert "chart latency" in page
        assert lead(reader.get("/webhooks").text) == "Your receiver gets what it should."
        (path,) = re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', page)
        page = reader.get(path).text
        assert (heading(page), lead(page)) == ("webhook.test", "The receiver has taken it.")
        assert "thank &lt;b&gt;you&lt;/b&gt;" in page
        assert f"&#34;id&#34;: &#34;{one}&#34;" in page
        assert web.seen[0].headers["webhook-id"] in page
        assert reader.post(f"{path}/redeliver").headers["location"] == f"/ui{path}"
        send()
        assert len(web.seen) == 2
        assert len({seen.headers["webhook-id"] for seen in web.seen}) == 1
        assert len(cells(reader.get(path).text, "delivery")) == 2

    def test_one_of_a_schedule_leads_to_it(self, reader: Reader, account: dict[str, Any]) -> None:
        one = create(reader, events=["schedule.skipped"])
        user, kind = UUID(account["id"]), EventType.SCHEDULE_SKIPPED
        with SessionLocal() as db:
            there = new_schedule(db, user, name="Nightly <sync>").id
            of = new_deliveries.find_endpoints(db, user, kind)
            assert len(new_deliveries.record_events(db, user, kind, of, [Event(there), Event(UUID(int=6))])) == 2
            db.commit()
        pages = [
            reader.get(path).text
            for path in re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', reader.get(f"/webhooks/{one}").text)
        ]
        linked = f'<a href="/ui/schedules/{there}"><bdi>Nightly &lt;sync&gt;</bdi></a>'
        assert sorted(linked in page for page in pages) == [False, True]
        assert sorted(f"<code>{UUID(int=6)}</code>" in page for page in pages) == [False, True]

    def test_what_was_lost_is_sent_again_since_a_time(self, reader: Reader, web: Web) -> None:
        one = create(reader, url=web.url())
        for since in ("yesterday", ""):
            refused = reader.post(f"/webhooks/{one}/recover", since=since)
            assert (refused.status_code, "A time is like" in refused.text) == (422, True)
        reader.post(f"/webhooks/{one}/recover", since="2026-11-24 12:00")
        assert "Nothing failed or was dropped since then" in reader.get(f"/webhooks/{one}").text
        reader.post(f"/webhooks/{one}/test")
        reader.post(f"/webhooks/{one}/disable", confirmed="true")
        reader.post(f"/webhooks/{one}/enable")
        work_off()
        assert cells(reader.get(f"/webhooks/{one}").text, "deliveries")[0][1] == "dropped"
        reader.post(f"/webhooks/{one}/recover", since="0001-01-01")
        work_off()
        page = reader.get(f"/webhooks/{one}").text
        assert "What failed, was dropped or waited since then is sent now." in page
        assert cells(page, "deliveries")[0][1] == "pending"

    @pytest.mark.parametrize(("deed", "form"), [("recover", {"since": "2026-11-24 12:00"}), ("send-waiting", {})])
    def test_a_recovery_of_too_many_to_be_counted_is_said_to_be_accepted(
        self, reader: Reader, web: Web, monkeypatch: pytest.MonkeyPatch, deed: str, form: dict[str, str]
    ) -> None:
        one = create(reader, url=web.url())
        monkeypatch.setattr(deliveries, "accept_recovery", lambda *_: None)
        answer = reader.post(f"/webhooks/{one}/{deed}", **form)
        assert (answer.status_code, "The recovery is accepted, but" in answer.text) == (503, True)
        assert "Deliveries" in answer.text

    def test_one_that_fails_is_told_with_its_error_and_its_next_attempt(self, reader: Reader, web: Web) -> None:
        web.answer["/"] = reply(503, b"later")
        one = create(reader, url=web.url())
        reader.post(f"/webhooks/{one}/test")
        send()
        page = reader.get(f"/webhooks/{one}").text
        assert lead(page).startswith("It gets nothing: every attempt has failed since")
        assert "The last error: the receiver answered 503" in lead(page)
        assert "The last error: the receiver answered 503" in lead(reader.get("/webhooks").text)
        row = cells(page, "deliveries")[0]
        assert (row[1], row[4], row[6].startswith("in ")) == ("pending", "503", True)
        (path,) = re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', page)
        page = reader.get(path).text
        assert lead(page).startswith("The receiver has not taken it yet. It is sent again: in ")
        assert cells(page, "delivery")[0][1::2] == ["503", "the receiver answered 503"]

    def test_that_wait_for_another_attempt_are_told_and_sent_now(self, reader: Reader, web: Web) -> None:
        web.answer["/"] = reply(503)
        one = create(reader, url=web.url())
        for _ in range(2):
            reader.post(f"/webhooks/{one}/test")
        send()
        change(failing_since=None)  # as if the receiver had taken another one since
        page = reader.get(f"/webhooks/{one}").text
        assert lead(page) == "Not all has got through yet."
        assert "2 deliveries wait for another attempt, the next one: in " in words(page)
        assert "verdict well" not in page
        web.answer["/"] = reply(204)
        assert reader.post(f"/webhooks/{one}/send-waiting").headers["location"] == f"/ui/webhooks/{one}"
        work_off()
        page = reader.get(f"/webhooks/{one}").text
        assert ("What waited for another attempt is sent now." in page, "/send-waiting" in page) == (True, False)
        send()
        assert lead(reader.get(f"/webhooks/{one}").text) == "It gets what it should: nothing waits."

    def test_are_listed_in_pages(
        self, reader: Reader, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(login_throttle, "CHANGES_PER_USER", 100)
        one = create(reader)
        with SessionLocal() as db:
            copy_deliveries(db, webhook_service.send_test(db, UUID(account["id"]), UUID(one)), 50)
        page = reader.get(f"/webhooks/{one}").text
        (older,) = re.findall(r'rel="next" href="/ui([^"]+)"', page)
        assert (len(cells(page, "deliveries")), len(cells(reader.get(older).text, "deliveries"))) == (50, 1)
        assert reader.get(f"/webhooks/{one}?cursor=x").status_code == 422

    def test_one_that_is_not_there_is_no_page(self, reader: Reader) -> None:
        assert reader.get(f"/deliveries/{UUID(int=1)}").status_code == 404


class TestOfATask:
    def test_are_on_its_page_and_say_where_they_went(self, reader: Reader, tasks: TaskClient, web: Web) -> None:
        create(reader, url=web.url(), events=["task.revoked"])
        task = tasks.create()["id"]
        tasks.post(f"{task}/cancel")
        flush_admitter()
        assert 'id="deliveries"' in reader.get(f"/tasks/{task}").text
        assert cells(reader.get(f"/tasks/{task}").text, "deliveries") == []
        send()
        page = reader.get(f"/tasks/{task}").text
        assert cells(page, "deliveries")[0][:5] == ["task.revoked", "delivered", web.url(), "1", "204"]
        (path,) = re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', page)
        assert task in reader.get(path).text

    def test_to_its_own_url_belong_to_no_endpoint(
        self, reader: Reader, administrator: Reader, tasks: TaskClient, web: Web
    ) -> None:
        secret = "whsec_" + "A" * 44
        with settings({"OUTBOUND_ALLOW": '["127.0.0.0/8"]', "WEBHOOK_SECRET": secret}):
            task = tasks.create(webhook_url=web.url())["id"]
            tasks.post(f"{task}/cancel")
            send()
            for one in (reader, administrator):
                page = one.get(f"/tasks/{task}").text
                assert cells(page, "deliveries")[0][:3] == ["task.revoked", "delivered", web.url()]
                (path,) = re.findall(r'href="/ui(/deliveries/[0-9a-f-]+)"', page)
                page = one.get(path).text
                assert (web.url() in page, "Send again" in page) == (True, False)
                assert f'href="/ui/tasks/{task}">← Task' in page
            assert reader.post(f"{path}/redeliver").status_code == 404
