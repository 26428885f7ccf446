"""What `celery --quiet worker` leaves out beside its banner: a warning without cause, and tracebacks of dead children.

What a dead child means for its task is logged by the agent, in one line with what follows.
"""

import logging
import warnings

from billiard.exceptions import WorkerLostError
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.utils.log import get_multiprocessing_logger

from app.worker.shared.slot_table import Phase, board

_CHILD_ENDED = "Process %r pid:%r exited with %r"
_TASK_LOST = "Task handler raised error: %r"


def be_quiet() -> None:
    """For this process, from now on. Called before Celery checks its privileges."""
    # Celery warns root of pickled messages, which run code. This service accepts JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    # At each lost connection: that Celery 6 will cancel tasks then. The setting is made here.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    get_multiprocessing_logger().addFilter(shorten_the_end_of_a_child)
    logging.getLogger("celery.worker.request").addFilter(leave_out_lost_tasks)


def shorten_the_end_of_a_child(record: logging.LogRecord) -> bool:
    """A logging filter: whether the line is kept. That of a child that held no attempt is put into plain words."""
    if record.msg != _CHILD_ENDED or not isinstance(record.args, tuple):
        return True
    _, pid, status = record.args
    if any(sight.pid == pid and sight.phase is not Phase.IDLE for sight in board.taken()):
        return False  # the agent says what became of the attempt
    record.msg, record.args = "process %s ended (%s): a new one takes its place", (pid, status)
    return True


def leave_out_lost_tasks(record: logging.LogRecord) -> bool:
    """A logging filter: False for the traceback of a task whose child is gone, which `RecordRequest` has reported."""
    lost = isinstance(record.args, tuple) and any(isinstance(each, WorkerLostError) for each in record.args)
    return not (lost and record.msg == _TASK_LOST)
