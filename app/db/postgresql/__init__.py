"""SQL that only PostgreSQL understands, where it has been measured to gain, or has to be.

Each module overrides its namesake in `app/db/statements/`, which other engines use: it has
the same functions, and takes over those that gain nothing. Functions are named by what they do, take a session or a
connection and values, commit nothing, and return plain rows or ids. docs/performance.md tells what each gains.

What stands here, and why:

    prepared                PREPARE and EXECUTE on one psycopg2 connection a process; SET LOCAL in the same message
    transitions             UPDATE … RETURNING within a CTE: a task's move and its attempt's history in one round trip;
                            conditions that keep the planner off partial indexes
    attempts                progress and ends of attempts: statements built and compiled once, with least(),
                            greatest(), intervals, and a list of rows as one JSON parameter
    claims                  the next rows of a worker's lines: LATERAL, SKIP LOCKED, unnest() WITH ORDINALITY
    daily_counts            a count within a limit: ON CONFLICT with a condition, RETURNING
    turns                   places in the lines, given in one statement: ON CONFLICT in a CTE, window functions
    limits                  places of limits that are given and freed: UPDATE, INSERT and DELETE with RETURNING, in CTEs
    held_tasks              the next rows that wait for a place: LATERAL over lines and keys, SKIP LOCKED
    user_places             the same by user, for QUOTA_RUNNING_TASKS
    live                    the newest changes of many watching users: LATERAL over a list of them
    task_pages              the ids of a page: UNION ALL of index scans, LATERAL by kind of task, window functions
    task_logs               adding, deleting and counting log lines in one statement: ON CONFLICT, CTEs
    task_output             keeping chunks under a lock of their task's row, and counting them, in one statement: CTEs
    task_steps              keeping a step under a lock of its task's row: INSERT with ON CONFLICT, in a CTE
    task_counts             folding changes into the sums of counts in one statement (DELETE and INSERT within CTEs)
    stats                   adding to numbers by time: rows as one JSON parameter, ON CONFLICT; date_bin()
    new_tasks               inserting tasks: all rows as one JSON parameter (json_to_recordset), RETURNING
    roles                   the privileges of the role that runs the service
"""
