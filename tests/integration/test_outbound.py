"""fetch_url and send_webhook as users meet them: through the API, run by a real worker."""

import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import redis

from app.core.signatures import InvalidSignature, encode_secret, verify
from tests.support.hostile_items import envelope
from tests.support.running import TASKS, Running, lines
from tests.support.shared import module_running
from tests.support.waiting import wait_for
from tests.unit.outbound.web_server import Web, redirect, reply, web_server

FETCH, WEBHOOK = "app.tasks.common_tasks.fetch_url", "app.tasks.high_priority_tasks.send_webhook"
SECRET = encode_secret(bytes(range(32)))
ME = "/api/v1/users/me/webhook-secret"


# With loopback opened, as an operator opens an internal network; and with the default settings.
running = module_running(OUTBOUND_ALLOW='["127.0.0.0/8"]', WEBHOOK_SECRET=SECRET)
guarded = module_running(worker=1)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as started:
        yield started


class TestFetch:
    def test_the_answer_is_the_result(self, running: Running, web: Web) -> None:
        web.answer |= {"/": redirect("/data"), "/data": reply(body="数据".encode(), Content_Type="text/plain")}
        ended = running.run(FETCH, web.url())
        assert (ended["status"], ended["progress"]) == ("succeeded", 100)
        result = ended["result"]
        assert (result["status"], result["text"], result["url"]) == (200, "数据", web.url("/data"))
        assert ended["progress_detail"] == {"bytes": 6, "total": 6}

    def test_a_passing_failure_is_tried_again(self, running: Running, web: Web) -> None:
        def busy_once(request: BaseHTTPRequestHandler) -> None:
            (reply(503) if len(web.seen) == 1 else reply(body=b"now"))(request)

        web.answer["/"] = busy_once
        ended = running.run(FETCH, web.url(), retry_backoff_seconds=1)
        assert (ended["status"], ended["result"]["text"]) == ("succeeded", "now")
        assert [attempt["outcome"] for attempt in running.attempts(ended["id"])] == ["retried", "succeeded"]
        assert "answered 503" in running.attempts(ended["id"])[0]["error_message"]

    def test_a_cancelled_one_hangs_up(self, running: Running, web: Web) -> None:
        gone: list[bool] = []

        def endless(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.end_headers()
            try:
                while True:
                    request.wfile.write(b"x" * 100)
                    time.sleep(0.02)
            except OSError:
                gone.append(True)

        web.answer["/"] = endless
        task_id = running.create(FETCH, web.url(), kwargs={"timeout": 300})
        wait_for(lambda: running.get(task_id)["progress_detail"], 20, "progress in bytes")
        assert running.post(task_id, "cancel").status_code == 202
        assert running.ended(task_id)["status"] == "revoked"
        wait_for(lambda: gone, 10, "the connection to be closed")

    def test_a_redirect_inside_fails_it(self, running: Running, web: Web) -> None:
        web.answer["/"] = redirect("http://169.254.169.254/latest/meta-data/")
        ended = running.run(FETCH, web.url())
        assert (ended["status"], ended["attempt"]) == ("failed", 1)
        assert ended["error"]["type"].endswith("AddressRefused")


class TestGuarded:
    @pytest.mark.parametrize("name", [FETCH, WEBHOOK])
    def test_an_address_inside_is_refused_at_submission(self, guarded: Running, web: Web, name: str) -> None:
        for url in (web.url("/secret"), "http://169.254.169.254/secret", "http://[::1]/secret", "http://0x7f.1/secret"):
            kwargs = {"url": url} | ({"event": "a.b", "payload": {}} if name == WEBHOOK else {})
            body = {"name": "x", "task_type": "x", "celery_task_name": name, "kwargs": kwargs}
            answer = guarded.http.post(TASKS, json=body)
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "kwargs", "url"])
            assert "secret" not in answer.text.replace(answer.json()["instance"], "")
        assert web.seen == []

    def test_a_name_that_leads_inside_fails_the_task_and_tells_nothing(self, guarded: Running, web: Web) -> None:
        name = socket.gethostname().lower()  # `localhost` and its like are refused at submission
        try:
            socket.getaddrinfo(name, web.port)
        except OSError:
            pytest.skip("the name of this machine leads nowhere")
        ended = guarded.run(FETCH, web.url("/?secret", host=name))
        assert (ended["status"], ended["attempt"]) == ("failed", 1)
        says = f"{name} port {web.port} is not a public address, and not allowed by OUTBOUND_ALLOW"
        assert ended["error"]["message"] == says
        assert web.seen == []

    def test_without_a_secret_nothing_is_signed_or_answered(self, guarded: Running) -> None:
        answer = guarded.http.get(ME)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhooks_off")
        ended = guarded.run(WEBHOOK, "https://example.com/", "a.b", {})
        assert (ended["status"], ended["attempt"]) == ("failed", 1)


class TestWebhook:
    def test_is_signed_with_its_owners_secret_and_no_others(self, running: Running, web: Web) -> None:
        web.answer["/hook"] = reply(204)
        ended = running.run(WEBHOOK, web.url("/hook"), "report.ready", {"report": 7})
        assert (ended["status"], ended["queue"]) == ("succeeded", "high_priority")
        (seen,) = web.seen
        mine = running.http.get(ME)
        assert mine.headers["cache-control"] == "no-store"
        assert verify(mine.json()["secret"], seen.headers, seen.body) == ended["id"]
        another = running.stack.api(token=running.stack.make_user()[1]).get(ME).json()["secret"]
        for secret in (another, SECRET):
            with pytest.raises(InvalidSignature):
                verify(secret, seen.headers, seen.body)

    def test_is_sent_again_with_the_same_id_and_a_later_time(self, running: Running, web: Web) -> None:
        def third_time(request: BaseHTTPRequestHandler) -> None:
            reply(500 if len(web.seen) < 3 else 200)(request)

        web.answer["/"] = third_time
        ended = running.run(WEBHOOK, web.url(), "a.b", {}, retry_backoff_seconds=1.5)
        assert (ended["status"], ended["attempt"]) == ("succeeded", 3)
        assert {seen.headers["webhook-id"] for seen in web.seen} == {ended["id"]}
        assert len({seen.body for seen in web.seen}) == 1
        times = [int(seen.headers["webhook-timestamp"]) for seen in web.seen]
        assert times == sorted(times)
        assert times[0] < times[2]

    def test_gone_is_gone(self, running: Running, web: Web) -> None:
        web.answer["/"] = reply(410, b"internal detail")
        ended = running.run(WEBHOOK, web.url(), "a.b", {})
        assert (ended["status"], ended["attempt"]) == ("failed", 1)
        assert ended["error"]["message"] == f"http://127.0.0.1:{web.port} answered 410 Gone"


def put_plain(running: Running, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """A message of no record, as anyone who may write to the broker can put it there."""
    with redis.Redis.from_url(running.stack.broker_url) as broker:
        broker.lpush("default", json.dumps(envelope([args, kwargs, {}], {"task": name})))


class TestMessagesOfNoRecord:
    """They act for no user: what belongs to one comes from a claimed row alone."""

    @pytest.mark.parametrize("way", ["keyword", "position", "starmap", "chunks"])
    def test_are_never_signed_with_the_secret_of_a_user_whose_task_they_name(
        self, running: Running, web: Web, way: str
    ) -> None:
        web.answer["/forged"] = reply(204)
        victims = running.create("echo")
        running.ended(victims)
        url, kind = web.url("/forged"), {"task": WEBHOOK, "args": [], "kwargs": {}, "options": {}}
        calls: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
            "keyword": (WEBHOOK, [url, "a.b", {}], {"task_id": victims}),
            "position": (WEBHOOK, [url, "a.b", {}, victims], {}),
            "starmap": ("celery.starmap", [], {"task": kind, "it": [[url, "a.b", {}, victims]]}),
            "chunks": ("celery.chunks", [kind, [[url, "a.b", {}, victims]], 1], {}),
        }
        put_plain(running, *calls[way])
        wait_for(lambda: web.seen, 20, "the webhook")
        seen = web.seen[0]
        assert seen.headers["webhook-id"] != victims
        verify(SECRET, seen.headers, seen.body)  # the service's own
        with pytest.raises(InvalidSignature):
            verify(running.http.get(ME).json()["secret"], seen.headers, seen.body)

    def test_fill_no_id_into_a_body(self, running: Running, tmp_path: Path) -> None:
        """Which would take it for its own record's, and act for that one's user."""
        victims = running.create("echo")
        ledger = tmp_path / "ledger"
        put_plain(running, "tests.tell_task_id", [str(ledger), victims], {})
        put_plain(running, "tests.tell_task_id", [str(ledger)], {"task_id": victims})
        wait_for(lambda: len(lines(ledger)) == 2, 20, "both bodies")
        assert lines(ledger) == ["None", "None"]
        own = running.create("tell_task_id", str(ledger))
        running.ended(own)
        assert lines(ledger)[2:] == [own]
