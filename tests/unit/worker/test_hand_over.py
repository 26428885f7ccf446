"""How a child hands a success to its parent; tests/integration/test_completions.py has what the parent does with it."""

import sys
from collections.abc import Iterator

import pytest

from app.core.ids import new_id
from app.services.execution.ends import Success
from app.worker.parent.completions import Completions
from app.worker.shared.hand_over import MAX_BYTES, HandOver
from app.worker.shared.slot_table import SlotTable


@pytest.fixture
def source() -> Iterator[HandOver]:
    opened = HandOver()
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def completions(source: HandOver, table: SlotTable) -> Completions:
    """Of the parent, whose thread has not been started."""
    return Completions(source, 60, table)


def success(result: str | None = None) -> Success:
    return Success(new_id(), 1, result)


def test_a_child_whose_parent_takes_nothing_writes_itself() -> None:
    assert not HandOver().send(success())


def test_a_large_result_is_the_childs_own(completions: Completions, source: HandOver) -> None:
    assert not source.send(success("9" * MAX_BYTES))
    assert completions.held() == set()


def test_a_parent_that_is_gone_is_noticed(source: HandOver) -> None:
    source.become_child()  # the only reader is gone
    assert not source.send(success())


def test_what_the_agent_has_read_wakes_the_thread(completions: Completions, source: HandOver) -> None:
    source.send(success())
    assert completions.held()
    assert source.inbox is not None
    assert source.inbox.recv(9) == b"."


def test_a_full_inbox_is_no_error_of_whoever_wakes(completions: Completions, source: HandOver) -> None:
    inbox = source.inbox
    for _ in range(10_000):
        source.wake()
    assert inbox is not None
    assert inbox.recv(9) == b"."
    assert completions.held() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps few datagrams")
def test_a_hundred_wait_for_no_parent(
    completions: Completions, source: HandOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent reads some fifty times a second: children that waited for it ran half as many tasks."""
    monkeypatch.setattr("app.worker.shared.hand_over.SEND_SECONDS", 0)
    sent = [success() for _ in range(100)]
    assert all(source.send(each) for each in sent)
    assert completions.held() == {(each.task_id, each.attempt) for each in sent}


def test_one_that_finds_no_room_is_the_childs_own(
    completions: Completions, source: HandOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.shared.hand_over.SEND_SECONDS", 0.01)
    sent = 0
    while source.send(success()):
        sent += 1
    if sys.platform == "linux":  # macOS does not tell that it is full
        assert source.is_full()
    assert len(completions.held()) == sent
    assert not source.is_full()
    assert source.send(success())


def test_a_look_of_the_agent_tells_the_children_that_the_parent_is_behind(
    completions: Completions, source: HandOver, table: SlotTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch is being written, nothing else does."""
    monkeypatch.setattr("app.worker.parent.completions.MOST_DUE", 2)
    for number in range(1, 4):
        assert not table.is_behind
        source.send(success())
        assert len(completions.held()) == number
    assert table.is_behind
