"""One line an event, in both forms: nothing forges another one, nothing tells a secret."""

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.utils.log import ColorFormatter
from uvicorn.logging import AccessFormatter

from app.core import logging as forms
from app.core.config import Settings
from app.core.logging import JSONFormatter, TextFormatter, request_id
from app.core.redacted_text import known_secrets
from tests.support.properties import given, st
from tests.support.settings import settings
from tests.support.tables import check_rows

HOSTILE = "a\r\nb\x1b[31mred\x00\x7f\x85\u2028c\u2029d\u202ee\t\ud800"
LOOK = "%(levelname)s %(name)s [%(request_id)s] %(message)s"


@pytest.fixture(params=["text", "json"])
def line(request: pytest.FixtureRequest) -> Callable[..., str]:
    formatter = JSONFormatter() if request.param == "json" else TextFormatter(logging.Formatter(LOOK))

    def formatted(message: str, *args: Any, **more: Any) -> str:
        record = logging.LogRecord("a.logger", logging.ERROR, __file__, 1, message, args, more.get("exc_info"))
        return formatter.format(record)

    return formatted


@pytest.fixture
def hidden() -> Iterator[None]:
    known_secrets.hide("test", ["zebra-9931", "0badcafe-2e9b-75a7-91b3-0b3c7380a6d2"])
    yield
    known_secrets.forget("test")


def caught(message: str) -> Any:
    try:
        try:
            raise KeyError(message)
        except KeyError as error:
            raise ValueError(message) from error
    except ValueError:
        return sys.exc_info()


class TestBothForms:
    def test_a_message_stays_on_its_line(self, line: Callable[..., str]) -> None:
        written = line("%s", HOSTILE)
        assert len(written.splitlines()) == 1
        assert written.isprintable()

    @given(st.text())
    def test_whatever_it_holds(self, text: str) -> None:
        record = logging.LogRecord("a", logging.INFO, "", 1, "%s", (text,), None)
        for formatter in (JSONFormatter(), TextFormatter(logging.Formatter("%(message)s"))):
            written = formatter.format(record)
            assert len(f"{written}|".splitlines()) == 1
        assert "\x1b" not in written

    def test_no_line_of_an_exception_looks_like_an_event(self, line: Callable[..., str]) -> None:
        forged = "x\nERROR a.logger [-] forged\r2026-01-01 forged\u2028forged"
        first, *rest = line("failed", exc_info=caught(forged)).splitlines()
        assert "failed" in first
        assert all(each.startswith("  | ") for each in rest)

    @pytest.mark.usefixtures("hidden")
    def test_secrets_are_hidden_in_message_arguments_and_exception(self, line: Callable[..., str]) -> None:
        written = line("password=%s %s", "hunter2", "zebra-9931", exc_info=caught("token: hunter2 zebra-9931"))
        assert "hunter2" not in written
        assert "zebra" not in written
        assert "ValueError" in written

    def test_arguments_that_do_not_fit_still_make_a_line(self, line: Callable[..., str]) -> None:
        assert "%d its (its arguments do not fit the format)" in line("%d its", "x")

    def test_they_carry_the_request_and_keep_other_languages_readable(self, line: Callable[..., str]) -> None:
        token = request_id.set("r-1")
        written = line("数据处理")
        request_id.reset(token)
        assert "r-1" in written
        assert "数据处理" in written


class TestJSON:
    def test_has_these_members(self) -> None:
        record = logging.LogRecord("a.logger", logging.WARNING, "", 1, "hello %s", ("you",), caught("x"))
        record.created = 1764000000.1234
        event = json.loads(JSONFormatter().format(record))
        assert event.pop("exception").startswith("Traceback (most recent call last):\n")
        assert event.pop("pid") == record.process
        assert event == {
            "timestamp": "2025-11-24T16:00:00.123Z", "level": "WARNING", "logger": "a.logger", "message": "hello you"
        }  # fmt: skip

    def test_does_not_change_the_record_for_other_handlers(self) -> None:
        record = logging.LogRecord("a", logging.INFO, "", 1, "password=%s", ("x",), caught("x"))
        before = dict(record.__dict__)
        JSONFormatter().format(record)
        TextFormatter(logging.Formatter(LOOK)).format(record)
        assert record.__dict__ == before


class TestTheTaskOfALine:
    ID = "01a2145c-0307-733a-9b76-8a1b56b28223"

    @pytest.fixture(autouse=True)
    def fields(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forms, "_fields", [])
        forms.add_fields(lambda _: {"task_id": self.ID})

    def test_is_named_in_both_forms_and_in_text_once(self, line: Callable[..., str]) -> None:
        for message in ("Task x received", f"task {self.ID}: attempt 1 is killed"):
            assert line(message).count(self.ID) == 1 + ('"task_id"' in line(message) and self.ID in message)


class TestText:
    def test_a_line_that_celery_lays_out_over_several_has_blanks(self) -> None:
        text = "consumer: Cannot connect to %s: %s.\n%s\n"
        record = logging.LogRecord(
            "celery.worker.consumer.consumer", 40, "", 1, text, ("redis://h", "refused", "Again"), None
        )
        written = TextFormatter(logging.Formatter("%(message)s")).format(record)
        assert written == "consumer: Cannot connect to redis://h: refused. Again"

    def test_keeps_the_look_of_celery_and_of_uvicorn(self) -> None:
        record = logging.LogRecord("celery", logging.INFO, "", 1, "worker1 ready.", (), None)
        assert TextFormatter(ColorFormatter("[%(levelname)s] %(message)s")).format(record) == "[INFO] worker1 ready."
        args = ("127.0.0.1:1", "GET", "/a?token=x&b=\x1b[1m", "1.1", 200)
        access = logging.LogRecord("uvicorn.access", logging.INFO, "", 1, '%s - "%s %s HTTP/%s" %d', args, None)
        look = AccessFormatter('%(client_addr)s - "%(request_line)s" %(status_code)s', use_colors=False)
        assert TextFormatter(look).format(access) == r'127.0.0.1:1 - "GET /a?token=***&b=\x1b[1m HTTP/1.1" 200 OK'

    @pytest.mark.usefixtures("hidden")
    def test_an_id_is_no_way_past_what_hides_secrets(self) -> None:
        def check(path: str, shown: str) -> None:
            args = ("127.0.0.1:1", "GET", path, "1.1", 200)
            for _ in range(2):  # the second time is the one that is remembered
                access = logging.LogRecord("uvicorn.access", logging.INFO, "", 1, '%s - "%s %s HTTP/%s" %d', args, None)
                assert forms.safe_access_arguments(access)[2] == shown

        an_id, known = "01a20e91-2e9b-75a7-91b3-0b3c7380a6d2", "0badcafe-2e9b-75a7-91b3-0b3c7380a6d2"
        check_rows(check, [
            (f"/tasks/{an_id}", f"/tasks/{an_id}"),
            (f"/pwd={an_id}", "/pwd=***"),
            (f"/a?token={an_id}", "/a?token=***"),
            (f"/of/{known}", "/of/***"),
            (f"/of/{known}/cancel?x=1", "/of/***/cancel?x=1"),
        ])  # fmt: skip

    def test_ignores_what_uvicorn_would_color(self) -> None:
        record = logging.LogRecord("uvicorn.error", logging.INFO, "", 1, "on %s", ("x",), None)
        record.color_message = "\x1b[1m"
        assert TextFormatter(logging.Formatter("%(message)s")).format(record) == "on x"


class TestConfiguring:
    @pytest.fixture
    def bare(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
        """A root logger as a fresh process has it, and a server's own logger."""
        root = logging.getLogger()
        server = logging.getLogger("uvicorn")
        monkeypatch.setattr(root, "handlers", [])
        monkeypatch.setattr(server, "handlers", [logging.StreamHandler(io.StringIO())])
        monkeypatch.setattr(forms, "log_uncaught_exceptions", lambda: None)
        level = root.level
        yield root
        root.setLevel(level)

    @pytest.mark.parametrize(("form", "kind"), [("text", TextFormatter), ("json", JSONFormatter)])
    def test_gives_root_and_server_the_form_once(self, bare: logging.Logger, form: str, kind: type) -> None:
        bare.handlers = []  # pytest has come back with its own
        with settings({"LOG_FORMAT": form}):
            forms.configure_logging(Settings())
            forms.configure_logging(Settings())
        (handler,) = bare.handlers
        (server,) = logging.getLogger("uvicorn").handlers
        assert type(handler.formatter) is type(server.formatter) is kind
        assert not isinstance(getattr(server.formatter, "inner", None), TextFormatter)

    def test_leaves_alone_what_was_set_up_before(self, bare: logging.Logger) -> None:
        bare.handlers = [logging.NullHandler()]
        forms.configure_logging(Settings())
        assert bare.handlers[0].formatter is None

    def test_the_settings_own_secrets_are_known(self, bare: logging.Logger) -> None:
        url = "postgresql://app:from-the-database-url@127.0.0.1/x"
        with settings({"DATABASE_URL": url, "SECRET_KEY": "k" * 8 + "0123456789", "SMTP_PASSWORD": "short"}):
            forms.configure_logging(Settings())
        assert known_secrets.redact("a from-the-database-url b kkkkkkkk0123456789 short") == "a *** b *** short"
        known_secrets.forget("settings")

    def test_production_logs_json(self) -> None:
        key = "2f1c7e0b9a8d4c6e5f3a1b2c3d4e5f60718293a4"
        assert Settings(app_env="production", secret_key=key).logs_json
        assert not Settings(app_env="production", secret_key=key, log_format="text").logs_json
        assert not Settings().logs_json
        assert Settings(log_format="json").logs_json


def test_what_ends_a_thread_or_the_process_is_an_event(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    forms.log_uncaught_exceptions()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    sys.excepthook(*caught("x"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "uncaught exception")
    ] * 2
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError, ValueError]


def test_what_is_said_outside_of_logging_is_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    with settings({"LOG_FORMAT": "json"}):
        forms.write_event("a\nb", Settings())
    known_secrets.forget("settings")
    assert json.loads(capfd.readouterr().err)["message"] == "a\nb"


class TestLinesOfOneTurn:
    def test_are_one_write(self) -> None:
        writes: list[str] = []

        class Stream(io.StringIO):
            def write(self, text: str) -> int:
                writes.append(text)
                return len(text)

        lines = forms.LoopTurnBuffer(Stream())

        async def two_turns() -> None:
            for turn in ("a", "b"):
                for number in (1, 2):
                    lines.write(f"{turn}{number}\n")
                    lines.flush()
                await asyncio.sleep(0)

        asyncio.run(two_turns())
        assert writes == ["a1\na2\n", "b1\nb2\n"]
        lines.write("c\n")  # no loop any more
        lines.flush()
        assert writes[2:] == ["c\n"]
