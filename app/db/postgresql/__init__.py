"""SQL that only PostgreSQL understands: the one room to write again for another database.

Functions are named by what they do, take a session or a connection and values, commit nothing, and return plain rows
or ids. Services keep the policy, in portable SQLAlchemy Core, and call them. `tests/unit/test_portable_sql.py` finds
engine SQL outside of this package. What stands here, and why:

    schema                  column types, indexes, triggers and the clock, for models and migrations
    schema/types            arrays, JSONB, CHECKs on arrays
    schema/clock            clock_timestamp(), statement_timestamp(), intervals; used as `app.db.clock`
    schema/indexes          partial, descending and inverted indexes, indexes by expression
    schema/triggers         DDL that goes with a table
    schema/guard            the trigger that guards the state machine
    schema/counts           the triggers that count ended tasks
    schema/audit            the trigger and privileges that keep the audit append-only
    prepared                PREPARE and EXECUTE on one psycopg2 connection a process; SET LOCAL in the same message
    transitions             UPDATE … RETURNING within a CTE: a task's move and its attempt's history in one round trip;
                            conditions that keep the planner off partial indexes
    attempts                claim, progress and ends of attempts: statements built and compiled once, with least(),
                            greatest(), intervals, and a list of rows as one JSON parameter
    batches                 FOR UPDATE SKIP LOCKED within a CTE: rows shared out among processes
    dispatching             taking due rows and marking them as sent: RETURNING, unnest() WITH ORDINALITY
    maintenance             the leader's lease (ON CONFLICT), rows of lost workers, the oldest messages (LATERAL)
    daily_counts            a count within a limit: ON CONFLICT with a condition, RETURNING
    workers                 a worker's heartbeat (ON CONFLICT), SET LOCAL lock_timeout
    periods                 beat's schedule: ON CONFLICT, RETURNING
    conditions              `column = ANY(array)`: one statement for any number of values
    task_filter             the conditions of a filter: arrays of tags, ids bounded by the time within them
    task_pages              the ids of a page: UNION ALL of index scans, LATERAL by kind of task, window functions
    task_counts             exact counts; folding changes into sums in one statement (DELETE and INSERT within CTEs)
    task_time_counts        counts within a time of creation, read from an index of ids
    new_tasks               inserting tasks: all rows as one JSON parameter (json_to_recordset), RETURNING
    idempotency             an advisory lock of the transaction, ON CONFLICT with a condition
    logins                  row locks, RETURNING, ON CONFLICT, arrays as parameters
    api_keys                row locks that spare foreign keys, RETURNING, arrays as parameters
    users                   row locks, RETURNING, ON CONFLICT
    quotas                  a user's load, by two index scans with LIMIT in one statement
    queue_depths            aggregates with FILTER, SET LOCAL statement_timeout
    live                    changes that no hint has told of: unnest(), LATERAL
"""
