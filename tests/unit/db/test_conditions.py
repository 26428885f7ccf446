"""Conditions that each engine spells in its own way stand in WHERE as they are, so that an index serves them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import Dialect

from app.db.listing import Behind
from app.db.statements.reads import is_one_of
from app.models.audit import AuditRecord
from app.models.task import Task

POSITION = (datetime(2030, 1, 1, tzinfo=UTC), UUID(int=1))


@pytest.mark.parametrize("dialect", [mysql.dialect(), sqlite.dialect()], ids=["mysql", "sqlite"])
@pytest.mark.parametrize(
    "condition", [is_one_of(Task.id, "ids"), Behind((AuditRecord.at, AuditRecord.id), POSITION)], ids=["in", "behind"]
)
def test_is_compared_with_nothing(condition: ColumnElement[bool], dialect: Dialect) -> None:
    """SQLAlchemy writes `… = 1` where an engine has no type for true and false, and no index serves that."""
    for statement in (select(Task.id).where(condition), select(Task.id).where(Task.name == "x", condition)):
        assert "= 1" not in str(statement.compile(dialect=dialect))
