"""Who has a unique key: its look-up for many keys at once, and the violation of its index."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.indexes import UNIQUE_KEY
from app.db.outage import UNIQUE_VIOLATION, sqlstate
from app.db.portable.conditions import is_one_of
from app.models.task import Task

_TABLE = Base.metadata.tables[Task.__tablename__]
_HOLDERS = select(_TABLE.c.active_key, _TABLE.c.id).where(
    _TABLE.c.user_id == bindparam("p_user_id"), is_one_of(_TABLE.c.active_key, "p_keys")
)
# MySQL names the index, SQLite the columns. The values that MySQL tells before it are the user's.
_OF_MYSQL, _OF_SQLITE = f"{UNIQUE_KEY}'", f"{_TABLE.name}.user_id, {_TABLE.name}.active_key"


def holders(db: Session, user_id: UUID, keys: Collection[str]) -> dict[str, UUID]:
    """The user's pending and running tasks that have one of these keys: their ids, by the key."""
    found = db.execute(_HOLDERS, {"p_user_id": user_id, "p_keys": list(keys)})
    return {row.active_key: row.id for row in found}


def is_taken(error: IntegrityError) -> bool:
    """Whether the statement failed because another task has the key."""
    said = str(next(reversed(error.orig.args), "")) if error.orig is not None else ""
    return sqlstate(error) == UNIQUE_VIOLATION and said.endswith((_OF_MYSQL, _OF_SQLITE))
