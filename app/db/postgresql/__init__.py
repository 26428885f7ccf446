"""SQL that only PostgreSQL understands, where it has been measured to gain, or has to be.

Functions are named by what they do, take a session or a connection and values, commit nothing, and return plain rows
or ids. Services keep the policy, in portable SQLAlchemy Core, and call them. `tests/unit/test_portable_sql.py` finds
engine SQL outside of this package. On all other engines the modules of the same name in `app/db/statements/` do this.

What stands here, and why:

    schema                  column types, indexes, triggers and the clock, for models and migrations
    schema/types            arrays
    schema/triggers         DDL that goes with a table
    schema/guard            the trigger that guards the state machine
    schema/holds            the trigger that lets no task of a paused queue begin: FOR KEY SHARE, snapshots in functions
    schema/limits           the trigger by which a claim takes the place of a task with a limit
    schema/waiting          why a task waits: statement_timestamp()
    schema/counts           the triggers that count ended tasks and their bytes
    schema/audit            the trigger and privileges that keep the audit append-only
    schema/server_logs      settings that let values of statements into the server's log; used by `app.db.server_logs`
    prepared                PREPARE and EXECUTE on one psycopg2 connection a process; SET LOCAL in the same message
    transitions             UPDATE … RETURNING within a CTE: a task's move and its attempt's history in one round trip;
                            conditions that keep the planner off partial indexes
    attempts                progress and ends of attempts: statements built and compiled once, with least(),
                            greatest(), intervals, and a list of rows as one JSON parameter
    adding                  rows as one JSON parameter (json_to_recordset), added to those that are there: ON CONFLICT
    batches                 FOR UPDATE SKIP LOCKED within a CTE: rows shared out among processes
    bulk                    the tasks of a bulk deed: string_agg() of ids, window functions, SKIP LOCKED
    claims                  the next rows of a worker's lines: LATERAL, SKIP LOCKED, unnest() WITH ORDINALITY
    maintenance             the leader's lease (ON CONFLICT), rows of lost workers, SET LOCAL lock_timeout
    daily_counts            a count within a limit: ON CONFLICT with a condition, RETURNING
    turns                   places in the lines, given in one statement: ON CONFLICT in a CTE, window functions
    claim_holds             paused queues and draining workers: LOCK TABLE, ON CONFLICT, RETURNING
    limits                  places of limits: row locks that spare submits, aggregates with FILTER
    held_tasks              rows that no claim may take: LATERAL over lines and keys, SKIP LOCKED
    user_places             the same by user, for QUOTA_RUNNING_TASKS; an advisory lock of the transaction for each
    waiting                 why tasks wait, for conditions and counts: arrays as parameters
    workers                 a worker's heartbeat (ON CONFLICT), SET LOCAL lock_timeout
    periods                 beat's schedule: ON CONFLICT, RETURNING
    conditions              `column = ANY(array)`: one statement for any number of values
    task_filter             the conditions of a filter: arrays of tags
    task_pages              the ids of a page: UNION ALL of index scans, LATERAL by kind of task, window functions
    task_rows               the rows of a page, cut to a number of bytes: octet_length, pg_column_size, window functions
    reads                   set_config() of a transaction: a time limit, no parallel workers
    task_logs               adding, deleting and counting log lines in one statement: ON CONFLICT, CTEs
    task_counts             folding changes into the sums of counts in one statement (DELETE and INSERT within CTEs)
    stats                   adding to numbers by time: ON CONFLICT, DELETE … RETURNING, date_bin()
    error_groups            adding failures to their groups: ON CONFLICT, FOR KEY SHARE, LATERAL, window functions
    new_tasks               inserting tasks: all rows as one JSON parameter (json_to_recordset), RETURNING
    unique_keys             who has one of many keys (an array as parameter), the name of a violated index
    idempotency             an advisory lock of the transaction, ON CONFLICT with a condition
    logins                  row locks, RETURNING, arrays as parameters
    throttle                counts that are inserted and locked in one statement: ON CONFLICT, RETURNING
    api_keys                row locks that spare foreign keys, RETURNING, arrays as parameters
    roles                   the privileges of the role that runs the service
    users                   row locks, RETURNING, ON CONFLICT
    audit                   deleting old records: ALTER TABLE … DISABLE TRIGGER, GRANT
    retention               deleting by age and by bytes: LATERAL, SKIP LOCKED, window functions
    quotas                  a user's load, by two index scans with LIMIT in one statement
    queue_depths            aggregates with FILTER, SET LOCAL statement_timeout
    live                    changes that no hint has told of: unnest(), LATERAL
"""
