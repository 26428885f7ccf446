"""The service with a safeguard taken out, loaded with TASK_MODULES and told by MUTANT (names, with commas between).

no_redispatch   maintenance sends nothing: neither what is due nor what the broker lost
no_fence        what an attempt writes does not name the attempt any more
no_epoch        a broker that came back empty looks like the one before
no_overtaken    a lost message is not missed where later ones have overtaken it
no_lease        a worker that is silent is never given up
no_self_fence   a worker that cannot beat lets its bodies run
"""

import json
import os
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql import psycopg2

MODULE = "tests.support.faults.mutants"
VARIABLE = "MUTANT"
FENCE = " AND tasks.attempt = %(p_attempt)s"
PREPARED_FENCE = re.compile(r" AND tasks\.attempt = (\$\d+)")
FENCE_OF_EACH = " AND tasks.attempt = ended.attempt"


def mutant(*names: str, modules: tuple[str, ...] = ("tests.support.ledger_tasks",)) -> dict[str, str]:
    """The environment of a part that lacks these; with none it is the service as it is."""
    assert set(names) <= set(MUTANTS)
    return {VARIABLE: ",".join(names), "TASK_MODULES": json.dumps([*modules, MODULE])}


def no_redispatch() -> None:
    from app.maintenance.loop import Maintenance

    _replace(Maintenance, "_dispatch", lambda *_: None)


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


def no_epoch() -> None:
    from app.maintenance import broker_epoch

    _replace(broker_epoch, "epoch", lambda *_: "always the same")


def no_overtaken() -> None:
    from app.maintenance.lost_messages import LostMessages

    _replace(LostMessages, "stuck", lambda *_: [])


def no_lease() -> None:
    from app.maintenance import passes

    rescue_lost = passes.rescue_lost
    _replace(passes, "rescue_lost", lambda db, **_: rescue_lost(db, silent_for=None))


def no_self_fence() -> None:
    from app.worker.parent.heartbeat_guard import HeartbeatGuard

    _replace(HeartbeatGuard, "_end_bodies", lambda *_: None)


def _replace(owner: Any, name: str, by: Callable[..., Any]) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this mutant is none"
    setattr(owner, name, by)


MUTANTS = {made.__name__: made for made in (no_redispatch, no_fence, no_epoch, no_overtaken, no_lease, no_self_fence)}

for _name in filter(None, os.environ.get(VARIABLE, "").split(",")):
    MUTANTS[_name]()
