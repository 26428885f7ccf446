"""Why a task of `tasks` waits, as far as the database knows: an expression that is evaluated with the row it stands by.

`no_worker` is not among the reasons: workers come and go without a change in any row. `ready` is what is left, and
`app/core/served_tasks.py` tells `no_worker` from `turn`.
"""

from sqlalchemy import Text, literal_column

_REASON = """CASE
    WHEN {row}run_at > statement_timestamp() THEN CASE WHEN {row}failures > 0 THEN 'retry' ELSE 'schedule' END
    WHEN EXISTS (
        SELECT FROM claim_holds AS hold WHERE hold.kind = 'queue' AND hold.name = {row}queue
    ) THEN 'paused'
    WHEN {row}held IN ('limit', 'limit_key', 'user') THEN {row}held
    ELSE 'ready'
END"""  # nosec B608 - constants

# For few rows: PostgreSQL would plan the subquery at each execution, which takes a third of the time to read a task.
WAITS = "CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END"
# For many rows: a call of the function takes some microseconds.
WAITS_OF_MANY = f"CASE WHEN tasks.status = 'pending' THEN {_REASON.format(row='tasks.')} END"

WAITS_COLUMN = literal_column(WAITS, Text)

# In plpgsql, so that its plan is kept with the connection and is no part of the query around it.
CREATE = (
    f"""
CREATE FUNCTION waits_for(run_at timestamptz, failures integer, queue text, held text)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN {_REASON.format(row="waits_for.")};
END
$$
""",
)
