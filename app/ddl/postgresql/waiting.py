"""Why a task of `tasks` waits: the reason of every engine, for few rows in a function."""

from app.ddl.portable.waiting import reason, waits

_NOW = "statement_timestamp()"

# For few rows: PostgreSQL would plan the subquery at each execution, which takes a third of the time to read a task.
WAITS = "CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END"
# For many rows: a call of the function takes some microseconds.
WAITS_OF_MANY = waits(_NOW)

# In plpgsql, so that its plan is kept with the connection and is no part of the query around it.
CREATE = (
    f"""
CREATE FUNCTION waits_for(run_at timestamptz, failures integer, queue text, held text)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN {reason("waits_for.", _NOW)};
END
$$
""",
)
