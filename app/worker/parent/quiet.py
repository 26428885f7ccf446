"""What `celery --quiet worker` leaves out of Celery's log: tracebacks of dead pool processes.

The agent logs in one line what a dead process means for its task.
"""

import logging
from functools import partial

from celery.utils.log import get_multiprocessing_logger

from app.worker.shared.slot_table import Phase, SlotTable

_CHILD_ENDED = "Process %r pid:%r exited with %r"
_TASK_LOST = "Task handler raised error: %r"
_REPORTED = "_task_service_reported"


def filter_logs(table: SlotTable) -> None:
    """Filter Celery's log of this process from now on. `table` tells which pool process holds an attempt."""
    get_multiprocessing_logger().addFilter(partial(shorten_the_end_of_a_child, table))
    logging.getLogger("celery.worker.request").addFilter(leave_out_reported)


def shorten_the_end_of_a_child(table: SlotTable, record: logging.LogRecord) -> bool:
    """A logging filter: whether the line is kept. The line of a process that held no attempt is put in plain words."""
    if record.msg != _CHILD_ENDED or not isinstance(record.args, tuple):
        return True
    _, pid, status = record.args
    if any(slot.pid == pid and slot.phase is not Phase.IDLE for slot in table.used()):
        return False  # the agent logs what became of the attempt
    record.msg, record.args = "process %s ended (%s): a new one takes its place", (pid, status)
    return True


def mark_reported(error: BaseException) -> None:
    """Say that another log line reports this end of an attempt, so that Celery's traceback of it can be left out."""
    vars(error)[_REPORTED] = True


def leave_out_reported(record: logging.LogRecord) -> bool:
    """A logging filter: False for the traceback of an error that was marked by `mark_reported`."""
    reported = isinstance(record.args, tuple) and any(
        _REPORTED in getattr(each, "__dict__", ()) for each in record.args
    )
    return not (reported and record.msg == _TASK_LOST)
