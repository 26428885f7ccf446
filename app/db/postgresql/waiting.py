"""Why pending tasks wait, for conditions and counts."""

from sqlalchemy import ColumnElement, Text, any_, literal, literal_column

from app.db.every_engine.waiting import reason_by
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.schema.waiting import WAITS_OF_MANY

_WAITS = literal_column(f"({WAITS_OF_MANY})", Text)


def reason() -> ColumnElement[str]:
    """The reason of each pending task, by the workers as this process knows them now."""
    return reason_by(_WAITS, lambda column, values: column == any_(literal(values, TextList)))
