"""Who has a unique key: its look-up for many keys at once, and the violation of its index."""

from sqlalchemy.exc import IntegrityError

from app.db.indexes import UNIQUE_KEY
from app.db.outage import UNIQUE_VIOLATION, sqlstate
from app.db.statements.tables import TASKS

# MySQL names the index, SQLite the columns. The values that MySQL tells before it are the user's.
_OF_MYSQL, _OF_SQLITE = f"{UNIQUE_KEY}'", f"{TASKS.name}.user_id, {TASKS.name}.active_key"


def is_taken(error: IntegrityError) -> bool:
    """Whether the statement failed because another task has the key."""
    said = str(next(reversed(error.orig.args), "")) if error.orig is not None else ""
    return sqlstate(error) == UNIQUE_VIOLATION and said.endswith((_OF_MYSQL, _OF_SQLITE))
