"""Why pending tasks wait, for conditions and counts."""

from sqlalchemy import ColumnElement

from app.db.every_engine.waiting import reason_by
from app.db.waiting import WAITS_COLUMN


def reason() -> ColumnElement[str]:
    """The reason of each pending task, by the workers as this process knows them now."""
    return reason_by(WAITS_COLUMN, lambda column, values: column.in_(values))
