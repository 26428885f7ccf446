"""Ten tasks that one process has claimed at once, in their order."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select

from app.models.worker import WorkerProcess
from tests.support.faults.scene import Scene, counts
from tests.support.spelling import id_of
from tests.support.waiting import wait_for

NUMBER = 10
TRIES = 30
SECONDS = 40.0
_CLAIMED_WITH = """
    SELECT task_id FROM witness
    WHERE new->>'claim_id' = (
        SELECT new->>'claim_id' FROM witness
        WHERE task_id = :id AND old->>'status' = 'pending' AND new->>'status' = 'running' ORDER BY seq LIMIT 1
    ) AND old->>'status' = 'pending' AND new->>'status' = 'running'
"""
_gates = itertools.count()


def batch_of_ten(scene: Scene, special: dict[int, dict[str, Any]] | None = None, priority: str = "normal") -> list[str]:
    """Ten `ledger.quick` that were claimed together; those at some places have options of their own.

    A process claims together what was short before. So the first ones that it takes are short ones, before each try: a
    special one may have killed the processes that had seen them. Where the machine was slow for a moment, a few are claimed
    apart, or given back before the last special one began: they end, and ten others are made.
    """
    special = special or {}
    until = max(special, default=-1) + 1
    for _ in range(TRIES):
        if special:
            batch_of_ten(scene, priority=priority)
        options = [special.get(at, {}) for at in range(NUMBER)]
        bodies = [scene.body("ledger.quick", **each, fields={"priority": priority}) for each in options]
        ids = scene.create_together(*bodies)
        together = wait_for(lambda: claimed_with(scene, ids[0]), SECONDS, "the first one to be claimed")  # noqa: B023
        if together == {*ids} and all(scene.started(task_id).attempt == 1 for task_id in ids[:until]):
            return ids
        for each in options:
            open_gate(each)
        wait_for(lambda: not scene.unended(), SECONDS, "all of them to end")
        for each in options:
            new_gate(scene, each)
    raise AssertionError(f"no process claimed {NUMBER} tasks at once in {TRIES} tries")


def gated(scene: Scene) -> dict[str, Any]:
    """Options of one that waits for a gate of its own, until `open_gate(options)`."""
    options: dict[str, Any] = {"gate": ""}
    new_gate(scene, options)
    return options


def new_gate(scene: Scene, options: dict[str, Any]) -> None:
    if "gate" in options:
        options["gate"] = str(scene.stack.directory / f"gate-of-batch-{next(_gates)}")


def open_gate(options: dict[str, Any]) -> None:
    if "gate" in options:
        Path(options["gate"]).touch()


def begun_by_a_frozen_process(scene: Scene, gate: Path) -> list[list[int]]:
    """Freeze the process of a batch in its third body until the other seven have run elsewhere.

    Returns the attempts of each of the seven that have begun, once the process has woken and gone on. The scene has two
    processes.
    """
    held = gated(scene)
    ids = batch_of_ten(scene, {2: held})
    child = scene.started(ids[2]).pid
    os.kill(child, signal.SIGSTOP)
    try:
        for task_id in ids[3:]:
            scene.ended(task_id)
        open_gate(held)
    finally:
        os.kill(child, signal.SIGCONT)
    scene.ended(ids[2])
    # Both processes have taken something else since: what the one had claimed before is behind it.
    later = [scene.create("ledger.deaf", gate=str(gate)) for _ in range(2)]
    assert child in {scene.started(task_id).pid for task_id in later}
    gate.touch()
    scene.check()
    assert counts(scene, ids[2]) == ("succeeded", 1, 0, 0)
    return [attempts_begun(scene, task_id) for task_id in ids[3:]]


def claimed_with(scene: Scene, task_id: str) -> set[str]:
    """The tasks that were claimed by the claim that was the task's first one; none before it."""
    return {str(id_of(row[0])) for row in scene.stack.sql(_CLAIMED_WITH, id=task_id)}


def succeeded_after_a_hand_back(scene: Scene, task_id: str) -> None:
    """It has succeeded in the one attempt that began, the second or a later one: hand-backs cost it nothing."""
    status, attempt, crashes, failures = counts(scene, task_id)
    assert (status, crashes, failures) == ("succeeded", 0, 0)
    assert scene.outcomes(task_id) == [*["handed_back"] * (attempt - 1), "succeeded"]
    assert attempts_begun(scene, task_id) == [attempt]
    assert attempt > 1


def uncounted(scene: Scene) -> int:
    """How many bodies have begun that the workers have not counted, once each has told what it has begun until now."""
    row = WorkerProcess.__table__.c

    def ask(statement: Select[Any]) -> Any:
        with scene.stack.engine.begin() as connection:
            return connection.execute(statement).scalar_one()

    for _ in range(2):  # a heartbeat tells of what was counted a moment before it
        late = select(func.count()).where(row.stopped_at.is_(None), row.heartbeat_at <= scene.stack.now())
        wait_for(lambda: ask(late) == 0, SECONDS, "a heartbeat of each worker")  # noqa: B023
    return len(scene.lines(event="start")) - int(ask(select(func.sum(row.processed))))


def attempts_begun(scene: Scene, task_id: str) -> list[int]:
    """The attempts whose body has begun, in the order of the ledger."""
    return [line.attempt for line in scene.lines(task_id, "start")]
