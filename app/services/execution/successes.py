"""Attempts that end in success together: one statement for many of them, each fenced as in `attempts.succeed`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import JSON, Integer, Text, Uuid, bindparam, cast, column, func

from app.db.direct import SET_LOCAL
from app.models.task import Task, TaskStatus
from app.services.execution.attempts import Executor
from app.services.execution.transitions import transition


@dataclass(frozen=True)
class Success:
    """An attempt that has succeeded; `result` as its JSON text, None for none."""

    task_id: UUID
    attempt: int
    result: str | None


_ENDED = (
    func.json_to_recordset(cast(bindparam("p_successes", type_=Text), JSON))
    .table_valued(column("task_id", Uuid), column("attempt", Integer), column("result", Text))
    .render_derived(name="ended", with_types=True)
)
# Each row by its key, however small the table was when the plan was made; and one row that somebody holds must not keep
# the others waiting: an error, in less time than a deadlock takes to be found.
_BY_KEY = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off"),
    "lock_timeout": "200ms",
}
_SUCCEED_TOGETHER = transition(
    TaskStatus.SUCCEEDED,
    Task.id == _ENDED.c.task_id,
    Task.attempt == _ENDED.c.attempt,
    sources=[TaskStatus.RUNNING],
    values={"result": _ENDED.c.result, "progress": 100},
    returning=(Task.id,),
).execution_options(**{SET_LOCAL: _BY_KEY})


def succeed_together(db: Executor, successes: Sequence[Success]) -> set[UUID]:
    """`succeed` for several tasks in one statement. Returns those whose attempt still held them.

    PostgreSQL's settings for it are `Direct`'s to send: elsewhere it waits for whoever has locked a row.
    """
    rows = [{"task_id": str(one.task_id), "attempt": one.attempt, "result": one.result} for one in successes]
    return {task_id for (task_id,) in db.execute(_SUCCEED_TOGETHER, {"p_successes": json.dumps(rows)}).all()}
