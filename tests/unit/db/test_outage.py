"""What the errors of MySQL mean that have one number for several things."""

import pymysql.err
import pytest
from sqlalchemy.exc import OperationalError

from app.db.outage import is_deadlock, is_passing


@pytest.mark.parametrize(
    ("text", "expected"),
    [("SAVEPOINT sa_savepoint_1 does not exist", True), ("FUNCTION tasks.nothing does not exist", False)],
)
def test_a_savepoint_is_gone_with_the_transaction_that_a_deadlock_undid(text: str, expected: bool) -> None:
    error = OperationalError("", {}, pymysql.err.OperationalError(1305, text))
    assert (is_deadlock(error), is_passing(error)) == (expected, expected)
