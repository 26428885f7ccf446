"""What `celery --quiet worker` leaves out of Celery's log: tracebacks of dead pool processes.

The agent logs in one line what a dead process means for its task.
"""

import logging
from collections.abc import Callable
from functools import partial

from celery.utils.log import get_multiprocessing_logger

from app.worker.shared.slot_table import Phase, SlotTable

_CHILD_ENDED = "Process %r pid:%r exited with %r"
_TASK_LOST = "Task handler raised error: %r"
_REPORTED = "_task_service_reported"
PROCESS_ENDED = "process %s ended (%s): a new one takes its place"


def filter_logs(table: SlotTable, report: Callable[[int, str], None]) -> None:
    """Filter Celery's log of this process from now on. `table` tells which pool process may hold an attempt.

    `report` has the agent log the end of such a process: it gets the process id, and how the process ended.
    """
    get_multiprocessing_logger().addFilter(partial(shorten_the_end_of_a_child, table, report))
    logging.getLogger("celery.worker.request").addFilter(leave_out_reported)


def shorten_the_end_of_a_child(
    table: SlotTable, report: Callable[[int, str], None], record: logging.LogRecord
) -> bool:  # fmt: skip
    """Filter a line of the log: False drops it. The line of a process that held no attempt is put in plain words."""
    if record.msg != _CHILD_ENDED or not isinstance(record.args, tuple):
        return True
    _, pid, status = record.args
    if any(slot.pid == pid and slot.phase is not Phase.IDLE for slot in table.used()):
        report(int(str(pid)), str(status))  # only the database knows whether a process that was claiming had an attempt
        return False
    record.msg, record.args = PROCESS_ENDED, (pid, status)
    return True


def mark_reported(error: BaseException) -> None:
    """Say that another log line reports this end of an attempt, so that Celery's traceback of it can be left out."""
    vars(error)[_REPORTED] = True


def leave_out_reported(record: logging.LogRecord) -> bool:
    """Filter a line of the log: False, which drops it, for a traceback that `mark_reported` has marked."""
    reported = isinstance(record.args, tuple) and any(
        _REPORTED in getattr(each, "__dict__", ()) for each in record.args
    )
    return not (reported and record.msg == _TASK_LOST)
