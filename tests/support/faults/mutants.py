"""The service with a safeguard taken out, loaded with TASK_MODULES and told by MUTANT (names, with commas between).

no_wake_ups         maintenance places what is due, and wakes nobody
no_turns            a claim takes the tasks in the order in which they came
no_pause            a claim does not look whether its queue is paused; the trigger still does
no_fence            what an attempt writes does not name the attempt any more
no_lease            a worker that is silent is never given up
no_self_fence       a worker that cannot beat lets its bodies run
no_begin_rule       a pool process begins what it has claimed, however late
ends_in_the_child   a pool process keeps its successes until the batch is over
no_last_row         the parent does not know which row of a batch a dead child had begun
"""

import json
import math
import os
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql import psycopg2

from app.db.every_engine.claims import MOST_ROWS

MODULE = "tests.support.faults.mutants"
VARIABLE = "MUTANT"
FENCE = " AND tasks.attempt = %(p_attempt)s"
PREPARED_FENCE = re.compile(r" AND tasks\.attempt = (\$\d+)")
FENCE_OF_EACH = " AND tasks.attempt = ended.attempt"
BY_TURN = " ORDER BY row.turn, row.id"


def mutant(*names: str, modules: tuple[str, ...] = ("tests.support.ledger_tasks",)) -> dict[str, str]:
    """The environment of a part that lacks these; with none it is the service as it is."""
    assert set(names) <= set(MUTANTS)
    return {VARIABLE: ",".join(names), "TASK_MODULES": json.dumps([*modules, MODULE])}


def no_wake_ups() -> None:
    from app.maintenance import passes
    from app.maintenance.loop import Maintenance

    _replace(Maintenance, "_wake", lambda _, db: passes.place_due(db))


def no_turns() -> None:
    _rewrite_claim({BY_TURN: " ORDER BY row.id", "found.turn, found.id": "found.id"})


def no_pause() -> None:
    _rewrite_claim({"claim_holds.kind = 'queue'": "false"})


def no_fence() -> None:
    from app.db.postgresql import attempts, prepared

    class Unfenced(prepared.Prepared):
        def __init__(self, statement: Any) -> None:
            super().__init__(statement)
            self.text = PREPARED_FENCE.sub(r" AND \1::integer IS NOT NULL", self.text).replace(FENCE_OF_EACH, "")

    assert PREPARED_FENCE.search(prepared.Prepared(attempts.SUCCEED).text), "the fence looks otherwise now"
    assert FENCE_OF_EACH in prepared.Prepared(attempts.SUCCEED_TOGETHER).text, "the fence looks otherwise now"
    _replace(prepared, "Prepared", Unfenced)
    assert FENCE in str(attempts.SUCCEED.compile(dialect=psycopg2.dialect())), "the fence looks otherwise now"

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def without_the_attempt(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return statement.replace(FENCE, ""), parameters


def no_lease() -> None:
    from app.maintenance import passes

    rescue_lost = passes.rescue_lost
    _replace(passes, "rescue_lost", lambda db, **_: rescue_lost(db, silent_for=None))


def no_self_fence() -> None:
    from app.worker.parent.heartbeat_guard import HeartbeatGuard

    _replace(HeartbeatGuard, "_end_bodies", lambda *_: None)


def no_begin_rule() -> None:
    from app.worker.child import taker

    _replace(taker, "BEGIN_SECONDS", math.inf)


def ends_in_the_child() -> None:
    from app.worker.child.taker import Taker
    from app.worker.shared.hand_over import HandOver

    kept: list[tuple[Any, Any]] = []
    send, run_all = HandOver.send, Taker._run_all

    def keep(hand_over: Any, success: Any) -> bool:
        kept.append((hand_over, success))
        return True

    def then_send(*batch: Any) -> float:
        ended = run_all(*batch)
        for each in kept:
            send(*each)
        kept.clear()
        return ended

    _replace(HandOver, "send", keep)
    _replace(Taker, "_run_all", then_send)


def no_last_row() -> None:
    from app.worker.shared.slot_table import SlotTable

    _replace(SlotTable, "last_of", lambda *_: None)


def _rewrite_claim(parts: dict[str, str]) -> None:
    """Have the claim say something else, of one row and of several."""
    from app.db.postgresql import claims, prepared

    statements = [claims.claim_statement(limit) for limit in (1, MOST_ROWS)]
    for statement in statements:
        text = prepared.Prepared(statement).text
        assert all(part in text for part in parts), "the claim looks otherwise now"

    class Rewritten(prepared.Prepared):
        def __init__(self, given: Any) -> None:
            super().__init__(given)
            if any(given is statement for statement in statements):
                for part, by in parts.items():
                    self.text = self.text.replace(part, by)

    _replace(prepared, "Prepared", Rewritten)


def _replace(owner: Any, name: str, by: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this mutant is none"
    setattr(owner, name, by)


_ALL = (
    no_wake_ups,
    no_turns,
    no_pause,
    no_fence,
    no_lease,
    no_self_fence,
    no_begin_rule,
    ends_in_the_child,
    no_last_row,
)
MUTANTS: dict[str, Callable[[], None]] = {made.__name__: made for made in _ALL}

for _name in filter(None, os.environ.get(VARIABLE, "").split(",")):
    MUTANTS[_name]()
