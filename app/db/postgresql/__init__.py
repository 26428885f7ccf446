"""SQL that only PostgreSQL understands, where it has been measured to gain, or has to be.

Each module overrides its namesake in `app/db/statements/`, which other engines use: it has the same functions, and
takes over those that gain nothing. Functions are named by what they do, take a session or a connection and values,
commit nothing, and return plain rows or ids. docs/performance.md tells what each gains.

What stands here, and why:

    prepared                PREPARE and EXECUTE on one psycopg2 connection a process; SET LOCAL in the same message
    transitions             UPDATE … RETURNING within a CTE: a task's move and its attempt's history in one round trip;
                            conditions that keep the planner off partial indexes
    attempts                progress and ends of attempts: statements built and compiled once, with least(),
                            greatest(), intervals, and a list of rows as one JSON parameter
    claims                  the next rows of a worker's lines: LATERAL, SKIP LOCKED, unnest() WITH ORDINALITY
    turns                   places in the lines, given in one statement: ON CONFLICT in a CTE, window functions
    limits                  places of limits that are given and freed: UPDATE, INSERT and DELETE with RETURNING, in CTEs
    held_tasks              the next rows that wait for a place: LATERAL over lines and keys, SKIP LOCKED
    live                    the newest changes of many watching users: LATERAL over a list of them
    task_pages              the ids of a page: UNION ALL of index scans, LATERAL by kind of task, window functions
    attached_rows           log lines, output and steps of a task, each written, counted and fenced by a lock of its row
                            in one statement: ON CONFLICT, CTEs
    counts                  folding changes into sums, adding to numbers by time, and within a day's limit: CTEs, rows
                            as one JSON parameter, ON CONFLICT with a condition; date_bin()
    new_tasks               inserting tasks: all rows as one JSON parameter (json_to_recordset), RETURNING
    released_children       the release of what depends on tasks, with its turns: several statements in one message,
                            which keep ids for each other in settings of their transaction; CTEs, RETURNING
    roles                   the privileges of the role that runs the service
"""
