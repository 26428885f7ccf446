"""the states in what SQLite's guard says"""

from collections.abc import Sequence
from itertools import permutations

from alembic import op

from app.core.engines import SQLITE
from app.migrations.baselines import execute

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STATES = ("pending", "running", "succeeded", "failed", "revoked")
_UNNAMED = "RAISE(ABORT, 'tasks_guard: task cannot go from OLD.status to NEW.status')"
_LINES = [
    f"WHEN OLD.status = '{old}' AND NEW.status = '{new}'"
    f" THEN RAISE(ABORT, 'tasks_guard: task cannot go from {old} to {new}')"
    for old, new in permutations(_STATES, 2)
]
_NAMED = "CASE\n    " + "\n    ".join([*_LINES, f"ELSE {_UNNAMED}", "END"])


def upgrade() -> None:
    _replace(_UNNAMED, _NAMED)


def downgrade() -> None:
    _replace(_NAMED, _UNNAMED)


def _replace(old: str, new: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name == SQLITE:
        found = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'tasks_guard'"
        text = str(connection.exec_driver_sql(found).scalar_one())
        execute(connection, "DROP TRIGGER tasks_guard")
        execute(connection, text.replace(old, new))
