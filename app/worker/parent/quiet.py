"""What `celery --quiet worker` leaves out of Celery's log: tracebacks of dead pool processes.

The agent logs in one line what a dead process means for its task.
"""

import logging
from functools import partial

from billiard.exceptions import WorkerLostError
from celery.utils.log import get_multiprocessing_logger

from app.worker.shared.slot_table import Phase, SlotTable

_CHILD_ENDED = "Process %r pid:%r exited with %r"
_TASK_LOST = "Task handler raised error: %r"


def filter_logs(table: SlotTable) -> None:
    """Filter Celery's log of this process from now on. `table` tells which pool process holds an attempt."""
    get_multiprocessing_logger().addFilter(partial(shorten_the_end_of_a_child, table))
    logging.getLogger("celery.worker.request").addFilter(leave_out_lost_tasks)


def shorten_the_end_of_a_child(table: SlotTable, record: logging.LogRecord) -> bool:
    """A logging filter: whether the line is kept. The line of a process that held no attempt is put in plain words."""
    if record.msg != _CHILD_ENDED or not isinstance(record.args, tuple):
        return True
    _, pid, status = record.args
    if any(slot.pid == pid and slot.phase is not Phase.IDLE for slot in table.used()):
        return False  # the agent logs what became of the attempt
    record.msg, record.args = "process %s ended (%s): a new one takes its place", (pid, status)
    return True


def leave_out_lost_tasks(record: logging.LogRecord) -> bool:
    """A logging filter: False for the traceback of a task whose child is gone, which `RecordRequest` has reported."""
    lost = isinstance(record.args, tuple) and any(isinstance(each, WorkerLostError) for each in record.args)
    return not (lost and record.msg == _TASK_LOST)
