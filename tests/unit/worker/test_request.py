"""What the parent shows of a request: nothing that its sender made up, and the row that a woken process runs."""

import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.celery_app import celery_app
from app.core.logging import TextFormatter
from app.messaging import loader
from app.messaging.guard.messages import WAKEUP
from app.worker.parent.process import parent_process
from app.worker.parent.request import RecordRequest
from app.worker.shared.slot_table import Phase, SlotState, SlotTable

TASK = UUID("01a2145c-0307-733a-9b76-8a1b56b28223")


def request_of(**headers: Any) -> RecordRequest:
    named = {"id": "one", "task": "celery.ping", "lang": "py", **headers}
    message = SimpleNamespace(headers=named, properties={}, delivery_info={}, acknowledged=False, body=b"")
    return RecordRequest(
        message, app=celery_app, headers=named, decoded=True, body=((), {}, {}), task=celery_app.Task()
    )


def test_no_text_of_a_sender_gets_into_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.logging._fields", [loader._log_fields])
    record = logging.LogRecord("celery", logging.INFO, __file__, 1, "received", (), None)
    for kwargs in (f"task_id={TASK}", "task_id=x\nERROR another line \x1b[31m"):
        record.data = {"id": "one", "name": "celery.ping", "kwargs": kwargs}
        assert TextFormatter(logging.Formatter("%(message)s")).format(record) == "received"


@pytest.mark.parametrize(
    ("name", "pid", "phase", "shown"),
    [
        (WAKEUP, 7, Phase.RUNNING, {"task_id": str(TASK), "name": "celery.map", "type": "celery.map"}),
        (WAKEUP, 7, Phase.DELIVERING, {}),
        (WAKEUP, 8, Phase.RUNNING, {}),
        ("celery.ping", 7, Phase.RUNNING, {}),
    ],
)
def test_a_wakeup_shows_the_row_that_its_process_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, pid: int, phase: Phase, shown: dict[str, str]
) -> None:
    table = SlotTable(1)
    table.write(SlotState(0, 7, 1, phase, 1, TASK, task_name=sorted(celery_app.tasks).index("celery.map")))
    monkeypatch.setattr(parent_process, "_made", SimpleNamespace(table=table))
    request = request_of(task=name)
    request.worker_pid = pid
    info = request.info()
    assert {key: info.get(key) for key in ("task_id", "name", "type")} == {
        "task_id": None, "name": name, "type": name, **shown
    }  # fmt: skip
