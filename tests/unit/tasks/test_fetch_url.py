"""fetch_url against a real server: what of an answer becomes the result, and what is tried again."""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.catalogue import find_type
from app.errors import InvalidArguments
from app.outbound import Failed, Refused
from app.tasks.common_tasks import fetch_url
from app.tasks.http_requests import AnsweredLater, AnsweredNo
from app.testing import TaskRun, TaskRunner, run_task
from tests.support.settings import settings
from tests.unit.outbound.web_server import Web, raw_server, redirect, reply
from tests.unit.tasks.claimed import claimed


@pytest.fixture
def web(web: Web) -> Iterator[Web]:
    with settings({"OUTBOUND_ALLOW": '["127.0.0.1"]'}):
        yield web


def attempt(url: str, failures: int = 0, **kwargs: Any) -> TaskRun:
    return TaskRunner(failures=failures).run(fetch_url, url, **kwargs)


def ending(run: TaskRun) -> tuple[str, type[BaseException]]:
    return run.outcome, type(run.exception)


class TestResult:
    def test_tells_all_of_a_text(self, web: Web) -> None:
        body = "数据 ✓\n".encode()
        web.answer["/a"] = reply(body=body, Content_Type="text/plain", ETag='"1"', Set_Cookie="s=secret", X_Other="no")
        result = fetch_url(web.url("/a"))
        assert result["headers"].pop("date")
        assert result == {
            "status": 200,
            "url": web.url("/a"),
            "redirects": 0,
            "headers": {"content-length": str(len(body)), "content-type": "text/plain", "etag": '"1"'},
            "content_type": "text/plain",
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "truncated": False,
            "text": "数据 ✓\n",
            "base64": None,
        }
        assert json.loads(json.dumps(result)) == result

    @pytest.mark.parametrize(
        ("body", "content_type", "text"),
        [
            ("你好".encode("gb18030"), "text/html; charset=GB2312", "你好"),
            ("你好".encode("big5"), 'text/html; Charset="big5"', "你好"),
            ("é".encode("latin-1"), "text/plain;charset=iso-8859-1", "é"),
            (b"\xff\xfe", "text/plain", None),
            (b"\x89PNG\r\n\x1a\n", "image/png", None),
            (b"xn--a", "text/plain; charset=punycode", None),
            (b"aGk=", "text/plain; charset=base64", None),
            (b"\\x41", "text/plain; charset=unicode_escape", None),
            (b"hi", "text/plain; charset=nonsense", None),
            (b"a\0b", "text/plain", "a\0b"),
            (b"", "text/plain", ""),
        ],
    )
    def test_text_is_read_in_its_charset_and_the_rest_is_base64(
        self, web: Web, body: bytes, content_type: str, text: str | None
    ) -> None:
        web.answer["/"] = reply(body=body, Content_Type=content_type)
        result = fetch_url(web.url())
        assert result["text"] == text
        assert result["base64"] == (None if text is not None else base64.b64encode(body).decode())

    def test_of_a_large_one_the_beginning_is_kept_and_all_is_hashed(self, web: Web) -> None:
        body = "数".encode() * 100_000
        web.answer["/"] = reply(body=gzip.compress(body), Content_Encoding="gzip")
        result = fetch_url(web.url(), keep_bytes=7)
        assert (result["text"], result["truncated"], result["size"]) == ("数数", True, 300_000)
        assert result["sha256"] == hashlib.sha256(body).hexdigest()
        assert fetch_url(web.url(), keep_bytes=0)["text"] == ""

    def test_names_where_it_ended_up(self, web: Web) -> None:
        web.answer |= {"/": redirect("/b"), "/b": reply(body=b"x")}
        result = fetch_url(web.url())
        assert (result["url"], result["redirects"]) == (web.url("/b"), 1)

    def test_head_has_headers_alone(self, web: Web) -> None:
        web.answer["/"] = reply(body=b"x" * 100)
        result = fetch_url(web.url(), method="HEAD", max_bytes=1000)
        assert (result["size"], result["headers"]["content-length"]) == (0, "100")


class TestRequest:
    def test_json_and_headers_are_sent(self, web: Web) -> None:
        web.answer["/"] = reply(201)
        fetch_url(web.url(), "POST", {"X-Api-Key": "k"}, json={"a": "数"})
        (seen,) = web.seen
        assert (seen.method, json.loads(seen.body), seen.headers["x-api-key"]) == ("POST", {"a": "数"}, "k")
        assert seen.headers["content-type"] == "application/json"

    def test_a_text_is_sent_as_utf_8_with_the_type_that_was_named(self, web: Web) -> None:
        web.answer["/"] = reply()
        fetch_url(web.url(), "PUT", {"Content-Type": "text/csv"}, body="数")
        assert (web.seen[0].body, web.seen[0].headers["content-type"]) == ("数".encode(), "text/csv")

    def test_body_and_json_exclude_each_other(self, web: Web) -> None:
        with pytest.raises(ValueError, match="exclude"):
            fetch_url(web.url(), "POST", body="", json=[])
        assert web.seen == []

    @pytest.mark.parametrize(
        ("variables", "says", "asked"),
        [({"OUTBOUND_MAX_BYTES": "2000"}, "larger than 2000", 1), ({"OUTBOUND_ALLOW": "[]"}, "OUTBOUND_ALLOW", 0)],
    )
    def test_the_settings_rule_over_the_arguments(
        self, web: Web, variables: dict[str, str], says: str, asked: int
    ) -> None:
        web.answer["/"] = reply(body=b"x" * 3000)
        with settings(variables), pytest.raises(Refused, match=says):
            fetch_url(web.url(), max_bytes=10_000)
        assert len(web.seen) == asked


class TestProgress:
    def test_is_in_bytes(self, web: Web) -> None:
        web.answer["/"] = reply(body=b"x" * 400_000)
        run = run_task(fetch_url, web.url())
        assert run.details[-1] == {"bytes": 400_000, "total": 400_000}
        percents = [percent for percent in run.percents if percent is not None]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        assert len(percents) > 3

    def test_cancelled_it_hangs_up(self) -> None:
        with (
            settings({"OUTBOUND_ALLOW": '["127.0.0.1"]'}),
            raw_server(b"HTTP/1.1 200 OK\r\n\r\n", pause=0.01, forever=b"x" * 1000) as port,
        ):
            run = TaskRunner(cancel_after=3).run(fetch_url, f"http://127.0.0.1:{port}/")
        assert (run.status, len(run.reports)) == ("revoked", 3)


class TestStatus:
    @pytest.mark.parametrize("status", [400, 404, 451])
    def test_a_refusal_fails_at_once(self, web: Web, status: int) -> None:
        web.answer["/s?token=secret"] = reply(status, b"secret")
        run = attempt(web.url("/s?token=secret"))
        assert ending(run) == ("failed", AnsweredNo)
        assert str(run.exception).startswith(f"http://127.0.0.1:{web.port} answered {status} ")
        assert "secret" not in str(run.exception)

    def test_what_may_pass_is_retried(self, web: Web) -> None:
        endings = {}
        for status in (408, 425, 429, 500, 503, 599):
            web.answer["/"] = reply(status)
            endings[status] = ending(attempt(web.url()))
        assert {status: end for status, end in endings.items() if end != ("retried", AnsweredLater)} == {}

    def test_the_pauses_grow(self, web: Web) -> None:
        web.answer["/"] = reply(503)
        assert [attempt(web.url(), failures).retry for failures in range(3)] == [5, 10, 20]

    def test_for_the_fourth_time_it_fails(self, web: Web) -> None:
        web.answer["/"] = reply(503, Retry_After="60")
        assert ending(attempt(web.url(), 3)) == ("failed", AnsweredLater)

    @pytest.mark.parametrize(
        ("asked", "delay"),
        [
            ("60", 60),
            ("1", 5),
            ("999999999", 3600),
            ("soon", 5),
            ("-1", 5),
            ("9" * 400, 3600),
            ("Fri, 13 Nov 999999999999999999999 00:00:00 GMT", 5),
        ],
    )
    def test_retry_after_is_honoured_within_an_hour(self, web: Web, asked: str, delay: float) -> None:
        web.answer["/"] = reply(503, Retry_After=asked)
        assert attempt(web.url()).retry == delay

    def test_retry_after_may_be_a_date(self, web: Web) -> None:
        web.answer["/"] = reply(429, Retry_After=format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True))
        assert 250 < (attempt(web.url()).retry or 0) <= 300

    @pytest.mark.parametrize("status", [404, 500])
    def test_any_is_a_result_where_that_was_asked_for(self, web: Web, status: int) -> None:
        web.answer["/"] = reply(status, b"why")
        result = fetch_url(web.url(), raise_for_status=False)
        assert (result["status"], result["text"]) == (status, "why")


class TestRetries:
    def test_no_connection_is_retried_whatever_the_method(self, web: Web) -> None:
        for method in ("GET", "POST"):
            run = attempt("http://no-such-host.invalid/", method=method)
            assert (run.outcome, isinstance(run.exception, Failed)) == ("retried", True)

    def test_half_an_answer_is_retried_but_not_after_a_post(self, web: Web) -> None:
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        for method, outcome in (("GET", "retried"), ("PUT", "retried"), ("POST", "failed"), ("PATCH", "failed")):
            with raw_server(half) as port:
                assert attempt(f"http://127.0.0.1:{port}/", method=method).outcome == outcome

    @pytest.mark.parametrize(("status", "outcome"), [(503, "retried"), (429, "retried"), (500, "failed")])
    def test_a_post_is_repeated_where_nothing_was_done(self, web: Web, status: int, outcome: str) -> None:
        web.answer["/"] = reply(status)
        assert attempt(web.url(), method="POST").outcome == outcome

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.2/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://localhost:22/"]
    )
    def test_refused_it_fails_at_once_even_with_attempts_named(self, web: Web, url: str) -> None:
        attempt = claimed(args=[url], max_attempts=9, max_attempts_named=True)
        with settings({"OUTBOUND_ALLOW": "[]"}):
            attempt.trace(fetch_url)
        outcome, error = ending(attempt.result())
        assert outcome == "failed"
        assert issubclass(error, InvalidArguments | Refused)

    def test_the_catalogue_says_how_often(self) -> None:
        found = find_type(fetch_url.name)
        assert (found.max_attempts, found.max_attempts_named) == (4, False)
