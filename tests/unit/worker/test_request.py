"""What the parent shows of a request: the record that it names, and nothing that its sender made up."""

import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.celery_app import celery_app
from app.core.logging import TextFormatter
from app.messaging import process_logs
from app.messaging.guard.messages import RECORD_HEADER
from app.worker.parent.request import RecordRequest

TASK = UUID("01a2145c-0307-733a-9b76-8a1b56b28223")
FORGED = f"task_id={TASK}"
BROKEN = "task_id=x\nERROR another line \x1b[31m"


def request_of(**headers: Any) -> RecordRequest:
    named = {"id": "one", "task": "celery.ping", "lang": "py", **headers}
    message = SimpleNamespace(headers=named, properties={}, delivery_info={}, acknowledged=False, body=b"")
    return RecordRequest(
        message, app=celery_app, headers=named, decoded=True, body=((), {}, {}), task=celery_app.Task()
    )


def line_about(kwargs: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("app.core.logging._fields", [process_logs._fields])
    record = logging.LogRecord("celery", logging.INFO, __file__, 1, "received", (), None)
    record.data = {"id": "one", "name": "celery.ping", "kwargs": kwargs}
    return TextFormatter(logging.Formatter("%(message)s")).format(record)


def test_a_record_is_shown_in_place_of_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = request_of(**{RECORD_HEADER: str(TASK)}).kwargsrepr
    assert shown == FORGED
    assert line_about(shown, monkeypatch) == f"received [task {TASK}]"


def test_a_message_without_a_record_cannot_name_one() -> None:
    assert request_of(kwargsrepr=FORGED).kwargsrepr == ""
    assert request_of(kwargsrepr="{'a': 1}").kwargsrepr == "{'a': 1}"


def test_no_text_of_a_sender_gets_into_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_about(BROKEN, monkeypatch) == "received"
