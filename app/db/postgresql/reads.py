"""Limits of reads whose cost a user chooses, for the rest of the session's transaction."""

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

# One statement must not take several processors: no parallel workers.
_LIMIT = select(
    func.set_config("statement_timeout", bindparam("timeout"), True),
    func.set_config("max_parallel_workers_per_gather", "0", True),
)


def limit_read(db: Session, seconds: float) -> None:
    """Stop each further statement of this transaction after `seconds`, and run it in one process."""
    db.execute(_LIMIT, {"timeout": f"{max(1, int(seconds * 1000))}ms"})
