"""What a worker sends: its children's claims, reports and ends, the lines that bodies log, its agent."""

from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql import attempts as attempt_statements
from app.db.postgresql import claims as claim_statements
from app.db.postgresql.prepared import prepared_connection
from app.db.session import SessionLocal
from app.errors import DailyLimitReached
from app.services.accounts import webhook_secrets
from app.services.execution import attempts, daily_limits, successes
from app.services.execution.attempts import CurrentAttempt, NextTry, WorkerIdentity, current_attempt
from app.services.execution.claims import Claims, ReadyClaim, give_back
from app.services.execution.kept_logs import KeptLogs, LogLine
from app.services.task_service import task_service
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from app.worker.parent import stall_detector
from app.worker.parent.agent import Agent, Loss, Node
from app.worker.parent.completions import Completions
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.parent.stall_detector import StallDetector
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import Phase, SlotState, SlotTable, Stop
from tests.support.golden_scenarios.stage import QUEUES, Stage, serve, settle
from tests.support.settings import sql
from tests.support.tasks import ERROR, LONG_RUNNING, lines_of, names, new_task, new_user

# No process has this id.
GONE = 2**30
WORKER = WorkerIdentity("worker@golden", new_id(), GONE)
LINE = LogLine("2026-01-01T00:00:00Z", 20, "a.logger", "a message", "{}")


def _claimed(number: int = 1, user_id: UUID | None = None, **options: Any) -> list[ReadyClaim]:
    """So many new tasks that this worker has claimed, and with them whatever else was ready."""
    with SessionLocal() as db:
        owner = user_id or new_user(db)
        ids = {new_task(db, owner, **options).id for _ in range(number)}
    settle()
    found: list[ReadyClaim] = []
    with prepared_connection() as connection:
        while claims := Claims(lines_of(*QUEUES)).next(connection, names(), new_id(), WORKER):
            found += claims
    own = [claim for claim in found if claim.id in ids]
    assert len(own) == number
    return own


def _run(**options: Any) -> AttemptRun:
    (claim,) = _claimed(**options)
    return AttemptRun(claim, ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid))


def _cancelled() -> AttemptRun:
    run = _run()
    with SessionLocal() as db:
        task_service.cancel(db, run.task_id)
    return run


def claims(_stage: Stage) -> None:
    """One row and ten, the claim whose reply was lost, and what is given back."""
    attempt_statements.build_statements()
    claim_statements.build_statements()
    with SessionLocal() as db:
        user = new_user(db)
        for _ in range(3):
            new_task(db, user)
    settle()
    looks, claim_id, found = Claims(lines_of(*QUEUES)), new_id(), list[ReadyClaim]()
    with prepared_connection() as connection:
        found += looks.next(connection, names(LONG_RUNNING), claim_id, WORKER)
        assert looks.find(connection, claim_id, WORKER)
        found += looks.next(connection, names(LONG_RUNNING), new_id(), WORKER)
        assert len(found) == 3
        with SessionLocal() as db:
            task_service.cancel(db, found[0].id)
        give_back(connection, found)


def ends(_stage: Stage) -> None:
    """Progress and each end of an attempt, as a child writes them and as a body does in a transaction of its own."""
    run = _run()
    run.report(None)
    run.report(50, {"step": 1})
    run.count("requests", 1, "outbound_requests_per_day")
    run.succeed({"sum": 1})
    _run().fail(ValueError("no"))
    _run().retry_later(ValueError("not yet"), NextTry(60))
    _run().hand_back()
    _run().revoke("ignored")
    _cancelled().fail(ValueError("no"))
    with prepared_connection() as connection:
        ended = [successes.Success(claim.id, claim.attempt, "1") for claim in _claimed(2)]
        assert len(successes.succeed_together(connection, ended)) == 2
        with pytest.raises(DailyLimitReached):
            daily_limits.count(connection, run.task_id, "requests", 2, 1)
    with SessionLocal() as db:
        daily_limits.prune(db)
    for status in ("running", "succeeded", "failed", "revoked"):
        _reports(status)
    with SessionLocal() as db:
        claim = _run().claim
        attempts.retry_later(db, claim.id, claim.attempt, ERROR, NextTry(60))
        db.commit()


def _reports(status: str) -> None:
    """A body does, in its context."""
    claim = _run().claim
    token = current_attempt.set(CurrentAttempt(claim.id, claim.attempt))
    with SessionLocal() as db:
        task_service.update_task_progress(db, claim.id, 10, {"step": 1})
        task_service.update_task_status(db, claim.id, status, 20)
    current_attempt.reset(token)


def logs(stage: Stage) -> None:
    """Lines that fit and lines for which others go, their pages, and what follows them."""
    user = stage.user()
    (claim,) = _claimed(user_id=UUID(user.user["id"]))
    with prepared_connection() as connection:
        kept = KeptLogs(claim.id, claim.attempt, 500)
        for _ in range(4):
            assert kept.write(connection, kept.numbered([LINE]))
        again = KeptLogs(claim.id, claim.attempt + 1, 500)
        assert again.write(connection, again.numbered([LINE]))
    path = f"/tasks/{claim.id}/logs"
    for query in ("", "?limit=1", "?attempt=1&level=ERROR"):
        stage.call(user, "GET", path + query)
    with SessionLocal() as db:
        task_service.newest_logs(db, claim.id)
        task_service.list_logs(db, claim.id, level="INFO")


def webhooks(_stage: Stage) -> None:
    """Whose keys sign the webhooks of a task."""
    (claim,) = _claimed()
    with SessionLocal() as db:
        webhook_secrets.keys_for_task(db, claim.id)


def agent(_stage: Stage) -> None:
    """Heartbeat, looks, what children leave behind, and the worker's end."""
    with SessionLocal() as db:
        serve(db)
        task_service.put_limit(db, "one", concurrency=1)
    settle()
    stopper = MagicMock(**{"why_ended.return_value": None, "limit_of.return_value": 5.0})
    table, hand_over = SlotTable(1), HandOver()
    one = Agent(WORKER.id, get_settings(), table, stopper, Completions(hand_over, 300, table))
    one._node = Node(WORKER.name, GONE, lambda: tuple(QUEUES), 1, lambda: None)
    for _ in range(2):
        one._beat()
        one._look()
        one._leave_if_drained()
    _loses(one, stopper, None)
    _loses(one, stopper, Stop.OVERRAN)
    _loses(one, stopper, Stop.HANDED_BACK)
    begun, other = _claimed(2)
    table.write(SlotState(0, GONE, 1, Phase.RUNNING, begun.attempt, begun.id))
    one.take_back(table.read(0))
    one._write_losses()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(one._completions, "held", lambda: {(other.id, 1)})
        one.report(Loss(GONE))
        one._write_losses()
    for claim in _claimed(limit="one"):
        place = HeldAttempt(claim.id, claim.attempt, GONE, cancelled=False)
        for _ in range(2):
            one._free_places([place])
    one._say_goodbye()
    sql("UPDATE tasks SET due_at = now() - interval '1 hour' WHERE status = 'pending'")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stall_detector, "STALL_SECONDS", 0)
        StallDetector(table, lambda: tuple(QUEUES), 1).is_stalled()


def _loses(one: Agent, stopper: MagicMock, why: Stop | None) -> None:
    """The child of an attempt is gone: known by the task, and by the process alone."""
    stopper.why_ended.return_value = why
    (claim,) = _claimed()
    one.report(Loss(GONE, claim.id))
    one._write_losses()
    _claimed()
    one.report(Loss(GONE))
    one._write_losses()
    stopper.why_ended.return_value = None
