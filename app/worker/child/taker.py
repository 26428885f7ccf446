"""The loop of a pool process that was woken: it takes ready rows, a few at a time, until none is left.

It stands in the place of the wake-up's own tracer. Each row runs under Celery's tracer of its task, as if a message of
its own had come: signals, hooks, `self.request`, results and events are those of the task. After SLICE_SECONDS the
process returns to Celery's loop, and another wake-up goes to the end of the line, so that plain messages get their
turn. The loop also sends the events of the rows, which the parent cannot know.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from celery import states
from celery.app.trace import TraceInfo
from celery.events import EventDispatcher

from app.core.ids import new_id
from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.db.sql import claims as statements, prepared
from app.db.statements import pending_rows
from app.db.statements.dependencies import Child
from app.db.statements.limit_places import BEGIN_SECONDS
from app.messaging import hints, wakeups
from app.messaging.broker import BrokerLink
from app.models.task import TaskPriority
from app.services.execution.claims import Claims, ReadyClaim, give_back
from app.services.operations import admission
from app.services.tasks import due_tasks
from app.services.workflows import dependents
from app.worker.child.attempt_run import AttemptRun, patience
from app.worker.child.left_transactions import roll_back_connections
from app.worker.child.process import ChildProcess
from app.worker.shared.delivery import Undeliverable, deliver
from app.worker.shared.rate_limits import Taken
from app.worker.shared.slot_table import Deadlines, SlotTable

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.3
# Rows of tasks that take less on average are claimed together: as many as take so long in all. That is half of the time
# in which they must begin.
SHORT_SECONDS = 0.005
TOGETHER_SECONDS = BEGIN_SECONDS / 2
# How many of the last runs the average is of, about.
WEIGHT = 8
_NAMED_THREADS = 5


def rows_together(most: float, longest: float) -> int:
    """Return how many rows to claim together, at most `most`: each of them should take `longest` seconds or less."""
    return int(most if most * longest <= TOGETHER_SECONDS else TOGETHER_SECONDS / longest)


class Ran(NamedTuple):
    """What became of claimed rows: when the last one had ended, in monotonic seconds, and what their ends let go on.

    `gave_back`: some were not begun, and stand in their line again.
    """

    ended_at: float
    freed: list[Child]
    gave_back: bool


class Taker:
    """Of one process, or of a worker whose slots are threads. `queues`: those that it serves, in the order of service.

    `default_limit` is the hard time limit, in seconds, of attempts for which neither request nor task names one;
    `default_soft_limit` the soft one of those for which the task names none.
    """

    def __init__(
        self,
        app: Any,
        node_name: str,
        child: ChildProcess,
        queues: Sequence[str],
        default_limit: float | None,
        default_soft_limit: float | None = None,
    ) -> None:
        self._default_limit, self._default_soft_limit = default_limit or math.inf, default_soft_limit or math.inf
        self._app, self._node_name, self._child = app, node_name, child
        self._worker = child.identity(node_name)
        self._patience = patience(child, child.settings.worker_lease_seconds)
        lines = [(queue, priority.value) for queue in queues for priority in reversed(TaskPriority)]
        self._claims = Claims(lines, child.settings.queue_shares)
        self._queues, self._wakes_at = queues, 0.0
        self._known = sorted(app.tasks)
        self._places = {name: place for place, name in enumerate(self._known)}
        self._events = TaskEvents(app, node_name, child.of_worker)
        self._durations: dict[str, float] = {}  # of each task's last runs, in seconds

    def serve(self) -> None:
        """Take rows until none is ready, or for SLICE_SECONDS."""
        until, is_woken = time.monotonic() + SLICE_SECONDS, True
        following: Child | None = None
        while self._child.wait_for_parent(until):
            claimed_at = time.monotonic()
            claims = [] if self._child.is_leaving() else self._claim(is_woken=is_woken)
            if following is not None and all(claim.id != following.id for claim in claims):
                # Another row was first, or it is unknown here. After a process that is killed, maintenance does.
                due_tasks.wake_committed([following])
            if not claims:
                return
            ran = self._run_all(claims, claimed_at)
            is_spent = self._child.tasks_left.number <= 0
            is_last = ran.ended_at >= until or is_spent or self._child.is_leaving()
            following = None if is_last else next(filter(self._is_ready, ran.freed), None)
            due_tasks.wake_committed([child for child in ran.freed if child is not following])
            is_woken = ran.gave_back or following is not None  # they stand below the floors
            if is_last:
                wakeups.publish([claims[-1].queue])  # for another slot, or this one in its next turn
                if is_spent:
                    _flush()  # the process ends
                return
        wakeups.publish(self._queues)  # for this slot in its next turn

    def _is_ready(self, child: Child) -> bool:
        """Return whether it can be claimed by a worker of these queues."""
        needs_place = child.limit is not None or bool(child.user_limited)
        return child.is_placed and not needs_place and child.queue in self._queues

    def rest(self) -> None:
        """Say that this process runs nothing: what it held and did not end is then an orphan, which the parent ends."""
        self._child.slot.idle()

    def _claim(self, *, is_woken: bool) -> list[ReadyClaim]:
        """Claim the next rows. `is_woken`: rows may stand below the floors of the last claims."""
        claim_id, tried = new_id(), False
        limits = self._child.rate_limits
        taken = limits.take()
        names = self._names(taken)

        def take(db: prepared.PreparedConnection) -> list[ReadyClaim]:
            nonlocal tried
            again, tried = tried, True
            # The first try may have been committed, and only its reply lost.
            found = self._claims.find(db, claim_id, self._worker) if again else []
            if not found and self._child.is_cut_off():
                raise Undeliverable("no heartbeat of this worker gets through")
            return found or self._claims.next(db, names, claim_id, self._worker, is_woken=is_woken)

        self._child.slot.claiming()
        claims: list[ReadyClaim] = []
        try:
            claims = deliver(take, self._patience, when_locked=roll_back_connections)
        except Undeliverable as error:
            logger.warning("no task claimed, maintenance wakes a slot again: %s", error)
            return []
        finally:
            limits.give_back(taken, claims[0].celery_task_name if claims else None)
        self._wake_at(taken.next_at)
        hints.changed(*(claim.id for claim in claims))
        return claims

    def _names(self, taken: Taken) -> pending_rows.TaskNames:
        """Return what to claim: near its last task the process takes one row at a time, and never two for one token."""
        known = [name for name in self._known if name not in taken.missing] if taken.missing else self._known
        if self._child.tasks_left.number < pending_rows.MOST_ROWS:
            return pending_rows.TaskNames(known, [])
        limited = self._child.rate_limits.names
        short = {
            name: took for name, took in [*self._durations.items()] if took < SHORT_SECONDS and name not in limited
        }
        most = min(statements.MOST_AT_ONCE, self._child.tasks_left.number)
        return pending_rows.TaskNames(known, list(short), rows_together(most, max(short.values(), default=0.0)))

    def _wake_at(self, moment: float) -> None:
        """Have a process woken then (monotonic seconds): a row may wait whose name has no token before."""
        now = time.monotonic()
        if now < self._wakes_at <= moment or moment == math.inf:
            return
        self._wakes_at = moment
        timer = threading.Timer(moment - now, wakeups.publish, [self._queues])
        timer.daemon = True
        timer.start()

    def _run_all(self, claims: list[ReadyClaim], claimed_at: float) -> Ran:
        """Run the claimed rows, and give those back that cannot begin in time."""
        freed: list[Child] = []
        gave_back = False
        if self._durations.get(claims[0].celery_task_name, SHORT_SECONDS) >= SHORT_SECONDS:
            wakeups.publish([claims[0].queue])  # this slot is busy: another one looks for the rows behind this one
        now = received_at = time.monotonic()
        # A limit with a rate counts the claim as the start. Else a claim that took long costs its rows no time: were
        # they given back for it, a slow database would be asked for each of them again.
        since = claimed_at if any(claim.limit is not None for claim in claims) else received_at
        for number, claim in enumerate(claims):
            left, named = len(claims) - number - 1, (self._places[claim.celery_task_name], claim.celery_id)
            self._child.slot.running(claim.id, claim.attempt, self._deadlines(claim), since, left, named)
            # After the slot says so: the parent takes back only what it does not find there (`agent.py`).
            now = time.monotonic()
            if (number or claim.limit is not None) and now - since > BEGIN_SECONDS:
                self._child.slot.not_begun()
                self._give_back(claims[number:])
                gave_back = True
                break
            run = AttemptRun(claim, self._child, now - received_at if number else 0.0, is_alone=len(claims) == 1)
            self._trace(run)
            freed += run.freed
            ended = time.monotonic()
            before = self._durations.get(claim.celery_task_name, ended - now)
            self._durations[claim.celery_task_name] = before + (ended - now - before) / WEIGHT
            now = ended
            if self._must_end(run):
                if left:
                    self._give_back(claims[number + 1 :])
                    gave_back = True
                break
        return Ran(now, freed, gave_back)

    def _must_end(self, run: AttemptRun) -> bool:
        """Return whether this process ends: a body that was stopped has left threads, which nothing else stops."""
        threads = run.left_threads()
        if not threads:
            return False
        ends = self._child.tasks_left.end()
        names = ", ".join(thread.name for thread in threads[:_NAMED_THREADS])
        logger.warning(
            "task %s: attempt %d was stopped, and its body has left %d threads running (%s): %s",
            run.task_id, run.claim.attempt, len(threads), names,
            "this process ends" if ends else "they go on, no process of a pool ends",
        )  # fmt: skip
        return ends

    def _give_back(self, claims: Sequence[ReadyClaim]) -> None:
        try:
            deliver(lambda db: give_back(db, claims), self._patience)
        except Undeliverable as error:
            logger.warning("%d tasks were not given back, the agent does: %s", len(claims), error)
        admission.bodies_ended([(claim.id, claim.attempt) for claim in claims if claim.is_limited])
        hints.changed(*(claim.id for claim in claims))

    def _deadlines(self, claim: ReadyClaim) -> Deadlines:
        task, now = self._app.tasks[claim.celery_task_name], time.monotonic()
        hard = claim.timeout_seconds or task.time_limit or self._default_limit
        soft = task.soft_time_limit or self._default_soft_limit
        return Deadlines(now + soft, now + hard, hard, soft)

    def _trace(self, run: AttemptRun) -> None:
        claim = run.claim
        task = self._app.tasks[claim.celery_task_name]
        identifier = str(claim.celery_id)
        request = {
            "id": identifier,
            "root_id": identifier,
            "correlation_id": identifier,
            "task": claim.celery_task_name,
            "lang": "py",
            "hostname": self._node_name,
            "is_eager": False,
            "retries": claim.failures,
            "timelimit": [claim.timeout_seconds, task.soft_time_limit],
            "headers": {},  # or Celery would look for those that are not its own among all of these
            "delivery_info": {"exchange": "", "routing_key": claim.queue, "priority": 0, "redelivered": False},
            "argsrepr": "",
            "kwargsrepr": "",
            "attempt_run": run,
        }
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        self._events.begun(run, request)
        _, problem, runtime, shown = task.__trace__(identifier, args, kwargs, request)
        self._events.ended(run, problem, runtime, shown)


def _flush() -> None:
    """Have that done which follows the ends of the rows: the children go on, places are given, slots are woken."""
    until = time.monotonic() + wakeups.FLUSH_SECONDS
    for flush in (dependents.flush_releases, admission.flush_admissions, wakeups.flush):
        flush(max(0.0, until - time.monotonic()))


def trace_with(taker: Taker) -> Any:
    """Return what stands in the place of the wake-up's tracer, with the signature and the result of Celery's."""

    def trace(_uuid: str, _args: Any, _kwargs: Any, _request: Any = None) -> tuple[Any, None, float, str]:
        begun = time.monotonic()
        try:
            taker.serve()
        except Exception:
            taker.rest()
            raise
        taker.rest()  # not where the process ends: the slot says which attempt has ended it
        return None, None, time.monotonic() - begun, "None"

    return trace


# -- The events of rows, for `celery events` and Flower ----------------------------------------------------------------
# The pool process sends them, since the parent knows wake-ups alone. It does so only while somebody wants them
# (`worker -E`, `control enable_events`). An event that the broker does not take is lost, as Celery's own are.

# After a broker that could not be reached: a row would wait for it.
EVENTS_PAUSE_SECONDS = 5.0


class TaskEvents:
    """Of one process. Sends nothing unless the worker `sends_events`."""

    def __init__(self, app: Any, node_name: str, of_worker: SlotTable) -> None:
        self._app, self._node_name, self._of_worker = app, node_name, of_worker
        self._link = BrokerLink()
        self._dispatcher: Any = None
        self._not_before = 0.0

    def begun(self, run: AttemptRun, request: dict[str, Any]) -> None:
        """Send Celery's events of a message that was received, and whose body was started."""
        if self._is_wanted(run):
            shown = {"args": "", "kwargs": f"task_id={run.task_id}", "root_id": request["root_id"], "parent_id": None}
            self._send("task-received", run, name=request["task"], retries=request["retries"], **shown)
            self._send("task-started", run)

    def ended(self, run: AttemptRun, problem: TraceInfo | None, runtime: float, shown: str) -> None:
        """Send the events of an end. `problem` is None after a success, `shown` its result as text."""
        if not self._is_wanted(run):
            return
        if problem is None:
            self._send("task-succeeded", run, result=shown, runtime=runtime)
        elif problem.state == states.RETRY:
            self._send("task-retried", run, exception=repr(problem.retval.exc))
        elif problem.state == states.FAILURE:
            error = getattr(problem.retval, "exc", problem.retval)
            self._send("task-failed", run, exception=repr(error))
        elif run.was_revoked:
            self._send("task-revoked", run, terminated=False, signum=None, expired=False)

    def _is_wanted(self, run: AttemptRun) -> bool:
        return self._of_worker.sends_events and bool(self._app.tasks[run.claim.celery_task_name].send_events)

    def _send(self, kind: str, run: AttemptRun, **fields: Any) -> None:
        if time.monotonic() < self._not_before:
            return
        texts = {name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        try:
            if self._dispatcher is None:
                self._dispatcher = EventDispatcher(
                    self._link.connection(), self._node_name, enabled=False, app=self._app, buffer_while_offline=False
                )
            event = {"uuid": str(run.claim.celery_id), **texts}
            self._dispatcher.publish(kind, event, self._link.producer(), retry=False)
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            logger.warning("broker not reachable, events of tasks are not sent: %s", first_line(error))
            self._dispatcher, self._not_before = None, time.monotonic() + EVENTS_PAUSE_SECONDS
            self._link.close()
