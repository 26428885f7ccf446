-- Written by `python -m tests.support.golden_sql --write`.

DROP TABLE api_keys;

DROP TABLE audit_events;

DROP FUNCTION IF EXISTS audit_events_append_only();

DROP TABLE bulk_batches;

DROP TABLE bulk_deeds;

DROP TABLE claim_holds;

DROP TABLE claimed_turns;

DROP TABLE daily_counts;

DROP TABLE error_groups;

DROP TABLE error_times;

DROP TABLE idempotency_keys;

DROP TABLE limit_places;

DROP TABLE limits;

DROP TABLE login_blocks;

DROP TABLE login_failures;

DROP TABLE login_sessions;

DROP TABLE maintenance_lease;

DROP TABLE periods;

DROP TABLE recovery_codes;

DROP TABLE refresh_tokens;

DROP TABLE second_factors;

DROP TABLE stored_bytes;

DROP TABLE task_attempts;

DROP TABLE task_count_changes;

DROP FUNCTION IF EXISTS task_count_changes_fold();

DROP TABLE task_counts;

DROP TABLE task_durations;

DROP TABLE task_logs;

DROP TABLE task_stats;

DROP TABLE task_submissions;

DROP TABLE task_totals;

DROP TABLE tasks;

DROP FUNCTION IF EXISTS tasks_guard();

DROP FUNCTION IF EXISTS tasks_count(), tasks_uncount(), tasks_count_forget();

DROP FUNCTION IF EXISTS tasks_held();

DROP FUNCTION IF EXISTS tasks_limited();

DROP FUNCTION IF EXISTS waits_for(timestamptz, integer, text, text);

DROP TABLE user_turns;

DROP TABLE users;

DROP TABLE worker_processes;
