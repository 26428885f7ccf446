"""Who has a unique key: its look-up for many keys at once, and the violation of its index."""

from sqlalchemy.exc import IntegrityError

from app.db.indexes import UNIQUE_KEY


def is_taken(error: IntegrityError) -> bool:
    """Whether the statement failed because another task has the key."""
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None) == UNIQUE_KEY
