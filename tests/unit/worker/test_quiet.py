"""What a quiet worker's log leaves out of Celery's own lines, and how the end of a process is put."""

import logging

import pytest
from billiard.exceptions import Terminated, WorkerLostError

from app.core.ids import new_id
from app.worker.parent import quiet
from app.worker.parent.request import how_it_ended
from app.worker.shared.slot_table import Phase, SlotState, SlotTable

KILLED = "Worker exited prematurely: signal 9 (SIGKILL) Job: 0."


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("celery", logging.ERROR, __file__, 1, message, args, None)


class TestTheEndOfAPoolProcess:
    def test_is_put_plainly_where_it_held_no_attempt_and_else_left_to_the_agent(self, table: SlotTable) -> None:
        line = record("Process %r pid:%r exited with %r", "ForkPoolWorker-1", 4711, "signal 9 (SIGKILL)")
        reported: list[tuple[int, str]] = []
        for phase in (Phase.RUNNING, Phase.CLAIMING):  # a claim may have been committed, or not have been sent
            table.write(SlotState(0, 4711, 1, phase, 1, new_id()))
            assert not quiet.shorten_the_end_of_a_child(table, lambda *end: reported.append(end), line)
        assert reported == [(4711, "signal 9 (SIGKILL)")] * 2
        table.write(SlotState(0, 4711, 1, Phase.IDLE, 1, new_id()))
        assert quiet.shorten_the_end_of_a_child(table, unexpected, line)
        assert line.getMessage() == "process 4711 ended (signal 9 (SIGKILL)): a new one takes its place"

    def test_changes_no_other_line(self, table: SlotTable) -> None:
        line = record("pidbox received method %s(%s)", "ping", {})
        assert quiet.shorten_the_end_of_a_child(table, unexpected, line)
        assert line.msg == "pidbox received method %s(%s)"


def unexpected(pid: int, how: str) -> None:
    raise AssertionError(f"{pid} is reported: {how}")


def test_the_traceback_of_a_lost_process_is_left_out_once_it_is_reported() -> None:
    error = WorkerLostError(KILLED)
    line = record("Task handler raised error: %r", error)
    assert quiet.leave_out_reported(line), "a task without a record has no other line"
    quiet.mark_reported(error)
    assert not quiet.leave_out_reported(line)
    assert quiet.leave_out_reported(record("another line about %r", error))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WorkerLostError(KILLED), "signal 9 (SIGKILL)"),
        (WorkerLostError("Worker exited prematurely: exitcode 3."), "exitcode 3"),
        (SystemExit(3), "SystemExit(3)"),
        (Terminated(15), "Terminated(15)"),
    ],
)
def test_how_a_process_ended_is_told_in_a_few_words(error: BaseException, told: str) -> None:
    assert how_it_ended(error) == told
