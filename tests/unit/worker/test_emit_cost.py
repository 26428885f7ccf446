"""What a chunk of output costs the body."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from app.celery_app import celery_app
from app.core.config import get_settings
from app.services.execution.attempts import Claim
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess, Flusher
from tests.support.calls import calls

# `emit`, `_run`, Celery's `request` and its `get`, the attempt's `emit`, `add`, `_add`, `dump_json`; of JSON its encoder and
# its size besides. As it was written.
TEXT_CALLS, JSON_CALLS = 15, 19
C_CALLS = 30


@celery_app.task(bind=True, name="tests.unit.emits")
def emits(self: Any) -> None:
    """Never runs: its request is made by hand."""


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(Flusher, "wake", lambda *_: None)
    run = AttemptRun(Claim(UUID(int=1), 1, [], {}, 0, 1, False, None), ChildProcess(UUID(int=2), get_settings()))
    emits.push_request(id="1", attempt_run=run)
    yield emits
    emits.pop_request()


@pytest.mark.parametrize(
    ("chunk", "most"), [("x" * 100, TEXT_CALLS), ({"step": 2, "of": 9, "file": "a.csv", "done": 0.5}, JSON_CALLS)]
)
def test_a_chunk_takes_a_few_calls(task: Any, chunk: Any, most: int) -> None:
    task.emit(chunk)
    python, c = calls(lambda: task.emit(chunk))
    assert python <= most
    assert c <= C_CALLS


def test_an_attempt_that_emits_nothing_has_nothing_for_it(task: Any) -> None:
    assert task.request.attempt_run._output is None
