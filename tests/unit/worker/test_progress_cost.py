"""What a report costs that is not written."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from app.celery_app import celery_app
from app.core.config import get_settings
from app.services.execution.attempts import Claim
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from tests.support.calls import calls
from tests.support.settings import settings

NEVER = "3600"
# `update_progress`, `_run`, Celery's `request` and its `get`, `report`, `keep`, `is_plainly_small`: 11 as it was written.
PYTHON_CALLS = 11
C_CALLS = 30


@celery_app.task(bind=True, name="tests.unit.reports")
def reports(self: Any) -> None:
    """Never runs: its request is made by hand."""


@pytest.fixture
def written() -> list[tuple[int | None, Any]]:
    return []


@pytest.fixture
def task(written: list[tuple[int | None, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def write(_: AttemptRun, percent: int | None, detail: Any) -> bool:
        written.append((percent, detail))
        return False

    monkeypatch.setattr(AttemptRun, "_write_progress", write)
    with settings({"PROGRESS_INTERVAL_SECONDS": NEVER}):
        run = AttemptRun(Claim(UUID(int=1), 1, [], {}, 0, 1, False, None), ChildProcess(UUID(int=2), get_settings()))
        reports.push_request(id="1", attempt_run=run)
        yield reports
        reports.pop_request()
        run._progress.close()


@pytest.mark.parametrize("detail", [None, {"step": 2, "of": 9, "file": "a.csv", "done": 0.5}])
def test_a_suppressed_report_takes_a_few_calls(task: Any, written: list[Any], detail: Any) -> None:
    task.update_progress(1)
    task.update_progress(2)  # starts the timer
    python, c = calls(lambda: task.update_progress(3, detail))
    assert written == [(1, None)]
    assert python <= PYTHON_CALLS
    assert c <= C_CALLS


def test_the_report_at_fault_is_told_so_where_a_later_one_would_win(task: Any) -> None:
    task.update_progress(1)
    task.update_progress(2)
    with pytest.raises(TypeError):
        task.update_progress(3, {"a": object()})
    with pytest.raises(ValueError, match="between 0 and 100"):
        task.update_progress(101)
