"""send_webhook against a real receiver: what arrives is signed, and what becomes of each answer."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.catalogue import find_type
from app.core.ids import new_id
from app.core.signatures import encode_secret, verify
from app.errors import InvalidArguments, WebhooksOff
from app.outbound import Refused
from app.services.webhooks.endpoints import service_keys
from app.tasks import high_priority_tasks
from app.tasks.high_priority_tasks import send_webhook
from app.tasks.http_requests import AnsweredNo, make_webhook
from app.testing import TaskRun, TaskRunner
from tests.support.settings import settings
from tests.unit.outbound.web_server import Web, redirect, reply

NEW, OLD = encode_secret(bytes(range(32))), encode_secret(bytes(range(32, 64)))
ALLOWED = {"OUTBOUND_ALLOW": '["127.0.0.1"]', "WEBHOOK_SECRET": f"{NEW} {OLD}"}


@pytest.fixture
def web(web: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """With the service's own keys: whose the task is, and so which keys sign it, a row would say."""
    monkeypatch.setattr(high_priority_tasks, "_webhook_keys", service_keys)
    with settings(ALLOWED):
        web.answer["/"] = reply(204)
        yield web


def attempt(url: str, failures: int = 0) -> TaskRun:
    return TaskRunner(failures=failures).run(send_webhook, url, "a.b", {})


class TestWhatArrives:
    def test_is_signed_with_each_secret(self, web: Web) -> None:
        result = send_webhook(web.url(), "report.ready", {"名": [1, 2.5, None]})
        (seen,) = web.seen
        assert json.loads(seen.body)["data"] == {"名": [1, 2.5, None]}
        assert json.loads(seen.body)["type"] == "report.ready"
        assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
        for secret in (NEW, OLD):
            assert verify(secret, seen.headers, seen.body) == result["webhook_id"]
        assert result["status"] == 204

    def test_has_the_same_id_and_body_at_every_attempt_and_the_time_of_each(self, web: Web) -> None:
        task_id = str(new_id())
        first, again = make_webhook("a.b", {"x": 1}, task_id), make_webhook("a.b", {"x": 1}, task_id)
        assert first == again
        assert first.id == task_id
        happened = datetime.fromisoformat(json.loads(first.body)["timestamp"])
        assert abs((datetime.now(UTC) - happened).total_seconds()) < 60
        first.deliver(web.url(), [bytes(32)])
        assert abs(datetime.now(UTC).timestamp() - int(web.seen[0].headers["webhook-timestamp"])) < 60

    @pytest.mark.parametrize(
        ("variables", "error"), [({"WEBHOOK_SECRET": ""}, WebhooksOff), ({"OUTBOUND_ALLOW": "[]"}, Refused)]
    )
    def test_is_nothing_without_a_secret_or_an_allowed_address(
        self, web: Web, variables: dict[str, str], error: type[Exception]
    ) -> None:
        with settings(variables), pytest.raises(error):
            send_webhook(web.url(), "a.b", {})
        assert web.seen == []


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 204, 299])
    def test_any_2xx_is_a_success(self, web: Web, status: int) -> None:
        web.answer["/"] = reply(status)
        assert send_webhook(web.url(), "a.b", {})["status"] == status

    @pytest.mark.parametrize("status", [300, 304, 400, 410])
    def test_others_that_stay_end_it_at_once(self, web: Web, status: int) -> None:
        web.answer["/"] = reply(status, b"" if status == 304 else b"secret")
        run = attempt(web.url())
        assert (run.outcome, type(run.exception)) == ("failed", AnsweredNo)
        assert "secret" not in str(run.exception)

    def test_redirects_are_not_followed(self, web: Web) -> None:
        web.answer |= {"/": redirect("/b", 307), "/b": reply(200)}
        assert attempt(web.url()).outcome == "failed"
        assert [seen.path for seen in web.seen] == ["/"]

    def test_those_that_may_pass_are_tried_again_after_growing_pauses(self, web: Web) -> None:
        """Which ones: see test_fetch_url.py. Unlike there, a POST is repeated whatever the server may have done."""
        for status in (429, 500):
            web.answer["/"] = reply(status)
            runs = [attempt(web.url(), failures) for failures in (0, 1, 7, 8)]
            assert [(run.outcome, run.retry) for run in runs] == [
                ("retried", 15), ("retried", 30), ("retried", 1920), ("retried", 3600),
            ]  # fmt: skip

    def test_so_is_no_answer_until_the_tenth_time(self, web: Web) -> None:
        assert attempt("http://no-such-host.invalid/").outcome == "retried"
        assert attempt("http://no-such-host.invalid/", 9).outcome == "failed"

    def test_retry_after_is_honoured(self, web: Web) -> None:
        web.answer["/"] = reply(429, Retry_After="120")
        assert attempt(web.url()).retry == 120


class TestInput:
    @pytest.mark.parametrize(
        "change",
        [{"event": "a b"}, {"event": ""}, {"event": ".a"}, {"event": "a\n"}, {"payload": []}, {"secret": "whsec_x"},
         {"url": "http://127.0.0.1/"}, {"task_id": "x"}],
    )  # fmt: skip
    def test_is_checked_at_submission(self, change: dict[str, Any]) -> None:
        good = {"url": "https://example.com/", "event": "a.b_c", "payload": {}}
        find_type(send_webhook.name).check([], good)
        with pytest.raises(InvalidArguments):
            find_type(send_webhook.name).check([], good | change)

    def test_it_goes_to_the_high_queue(self) -> None:
        assert find_type(send_webhook.name).queue == "high_priority"
