"""A witness of every change of a task in one test's database, and the check of all that must hold."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.report.recorded import BrokenPromise
from tests.support.faults.histories import Change, History, PastAttempt, Row, histories, read_ledger
from tests.support.faults.rules import Violation, violations
from tests.support.faults.witness_tables import WITNESS, statements
from tests.support.spelling import id_of
from tests.support.stack import Stack


class Witness:
    """`Witness(stack).install()` before the first task; `check(…)` at the end.

    `violations(…)` is what `check` would complain of.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def install(self) -> "Witness":
        for statement in statements():
            self._stack.sql(statement)
        return self

    def changes(self, after: datetime | None = None) -> list[Change]:
        """All of them, or those after a moment of the database's clock."""
        found = select(WITNESS).order_by(WITNESS.c.seq)
        with self._stack.engine.begin() as connection:
            rows = connection.execute(found if after is None else found.where(WITNESS.c.at > after)).all()
        return [Change(seq, at.timestamp(), str(task_id), *states) for seq, at, task_id, *states in rows]

    def histories(
        self, accepted: Iterable[Any], ledger: Path | None, deleted: Iterable[Any] = ()
    ) -> dict[str, History]:
        gone = {str(task_id) for task_id in deleted}
        lines = [] if ledger is None else read_ledger(ledger)
        found = histories({str(i) for i in accepted} | gone, self.changes(), lines, keep_ledger=ledger is not None)
        for task_id in gone:
            found[task_id].deleted = True
        for task_id, status, attempt in self._stack.sql("SELECT id, status, attempt FROM tasks"):
            if str(id_of(task_id)) in found:
                found[str(id_of(task_id))].row = Row(status, attempt)
        told = "SELECT task_id, number, outcome FROM task_attempts ORDER BY task_id, number"
        for task_id, number, outcome in self._stack.sql(told):
            if str(id_of(task_id)) in found:
                found[str(id_of(task_id))].attempts.append(PastAttempt(number, outcome))
        return found

    def violations(self, accepted: Iterable[Any], ledger: Path | None, deleted: Iterable[Any] = ()) -> list[Violation]:
        return violations(self.histories(accepted, ledger, deleted).values())

    def check(self, accepted_ids: Iterable[Any], ledger: Path | None, deleted: Iterable[Any] = ()) -> None:
        """Every rule of `rules.RULES` holds for every task; else the histories that break one are shown.

        `accepted_ids` were answered 201; `deleted` are those whose deletion was answered 204, or 202 a while ago.
        `ledger=None` where the tasks keep none: the rules about bodies then have nothing to look at.
        """
        found = self.violations(accepted_ids, ledger, deleted)
        if found:
            raise BrokenPromise(f"{len(found)} violations\n" + "\n".join(str(each) for each in found[:10]))
