"""why a task waits is the word that holds it, also one that the code does not know"""

from collections.abc import Sequence

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import execute_for_engine, repeatable

revision: str = "0050"
down_revision: str | None = "0049"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SHOWN = "waits_for.held <> 'name'"
_LATER = "CASE WHEN waits_for.failures > 0 THEN 'retry' ELSE 'schedule' END"
_SHOWN_BEFORE = "waits_for.held IN ('dependency', 'limit', 'limit_key', 'user')"


def _function(is_shown: str) -> str:
    """Return the function of PostgreSQL; the other engines have the expression in the code."""
    return f"""
CREATE OR REPLACE FUNCTION waits_for(run_at timestamptz, failures integer, queue text, held text)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE
    WHEN waits_for.run_at > statement_timestamp() THEN {_LATER}
    WHEN EXISTS (
        SELECT 1 FROM claim_holds AS hold WHERE hold.kind = 'queue' AND hold.name = waits_for.queue
    ) THEN 'paused'
    WHEN {is_shown} THEN waits_for.held
    ELSE 'ready'
END;
END
$$
"""  # noqa: S608 # nosec B608 (constants)


@repeatable()
def upgrade() -> None:
    execute_for_engine({POSTGRESQL: [_function(_SHOWN)], MYSQL: [], SQLITE: []})


@repeatable()
def downgrade() -> None:
    execute_for_engine({POSTGRESQL: [_function(_SHOWN_BEFORE)], MYSQL: [], SQLITE: []})
