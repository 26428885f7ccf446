CREATE TABLE task_totals (
	user_id CHAR(32) NOT NULL,
	status TEXT NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_totals PRIMARY KEY (user_id, status)
)
;;
CREATE TABLE task_counts (
	user_id CHAR(32) NOT NULL,
	task_type TEXT NOT NULL,
	celery_task_name TEXT NOT NULL,
	priority TEXT NOT NULL,
	queue TEXT NOT NULL,
	status TEXT NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_counts PRIMARY KEY (user_id, task_type, celery_task_name, priority, queue, status)
)
;;
CREATE TABLE task_count_changes (
	user_id CHAR(32) NOT NULL,
	status TEXT NOT NULL,
	task_type TEXT NOT NULL,
	celery_task_name TEXT NOT NULL,
	priority TEXT NOT NULL,
	queue TEXT NOT NULL,
	number INTEGER NOT NULL,
	bytes BIGINT DEFAULT '0' NOT NULL,
	ended_at BIGINT,
	waited FLOAT,
	ran FLOAT,
	error TEXT,
	error_type TEXT,
	error_message TEXT
)
;;
CREATE TABLE stored_bytes (
	user_id CHAR(32) NOT NULL,
	kind TEXT NOT NULL,
	bytes BIGINT NOT NULL,
	CONSTRAINT pk_stored_bytes PRIMARY KEY (user_id, kind)
)
;;
CREATE TABLE task_submissions (
	user_id CHAR(32) NOT NULL,
	at BIGINT NOT NULL,
	task_type TEXT NOT NULL,
	queue TEXT NOT NULL,
	priority TEXT NOT NULL,
	number INTEGER NOT NULL,
	celery_task_name TEXT
)
;;
CREATE TABLE task_stats (
	user_id CHAR(32) NOT NULL,
	step_seconds INTEGER NOT NULL,
	at BIGINT NOT NULL,
	task_type TEXT NOT NULL,
	queue TEXT NOT NULL,
	priority TEXT NOT NULL,
	submitted BIGINT NOT NULL,
	succeeded BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	revoked BIGINT NOT NULL,
	CONSTRAINT pk_task_stats PRIMARY KEY (user_id, step_seconds, at, task_type, queue, priority)
)
;;
CREATE INDEX ix_task_stats_at ON task_stats (step_seconds, at)
;;
CREATE TABLE task_durations (
	user_id CHAR(32) NOT NULL,
	step_seconds INTEGER NOT NULL,
	at BIGINT NOT NULL,
	measure TEXT NOT NULL,
	bucket SMALLINT NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_durations PRIMARY KEY (user_id, step_seconds, at, measure, bucket)
)
;;
CREATE INDEX ix_task_durations_at ON task_durations (step_seconds, at)
;;
CREATE TABLE users (
	id CHAR(32) NOT NULL,
	username TEXT NOT NULL,
	username_normalized TEXT NOT NULL,
	email TEXT NOT NULL,
	email_normalized TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	role TEXT DEFAULT 'user' NOT NULL,
	is_active BOOLEAN DEFAULT 1 NOT NULL,
	weight INTEGER DEFAULT '1' NOT NULL,
	max_priority TEXT DEFAULT 'critical' NOT NULL,
	followers SMALLINT,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT ck_users_role CHECK (role IN ('user', 'admin')),
	CONSTRAINT ck_users_weight CHECK (weight BETWEEN 1 AND 100),
	CONSTRAINT ck_users_max_priority CHECK (max_priority IN ('low', 'normal', 'high', 'critical')),
	CONSTRAINT uq_users_username_normalized UNIQUE (username_normalized),
	CONSTRAINT uq_users_email_normalized UNIQUE (email_normalized)
)
;;
CREATE TABLE audit_events (
	id CHAR(32) NOT NULL,
	at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	event VARCHAR(64) NOT NULL,
	origin VARCHAR(16) NOT NULL,
	actor_id CHAR(32),
	actor_name VARCHAR(128),
	object_kind VARCHAR(32) NOT NULL,
	object_id VARCHAR(128) NOT NULL,
	address VARCHAR(64),
	request_id VARCHAR(64),
	detail TEXT DEFAULT '{}' NOT NULL,
	CONSTRAINT pk_audit_events PRIMARY KEY (id),
	CONSTRAINT ck_audit_events_detail CHECK (octet_length(detail) <= 4096)
)
;;
CREATE INDEX ix_audit_events_actor ON audit_events (actor_id, at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_at ON audit_events (at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_event ON audit_events (event, at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_object ON audit_events (object_id, at DESC, id DESC)
;;
CREATE TABLE audit_pruning (id INTEGER PRIMARY KEY)
;;
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no UPDATE');
END
;;
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_pruning)
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no DELETE');
END
;;
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'audit_events is append-only: no REPLACE');
END
;;
CREATE TABLE error_times (
	fingerprint TEXT NOT NULL,
	at BIGINT NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_error_times PRIMARY KEY (fingerprint, at)
)
;;
CREATE INDEX ix_error_times_at ON error_times (at)
;;
CREATE TABLE limits (
	name TEXT NOT NULL,
	concurrency INTEGER,
	concurrency_per_key INTEGER,
	rate_count INTEGER,
	rate_period_seconds FLOAT,
	rate_per_key_count INTEGER,
	rate_per_key_period_seconds FLOAT,
	on_excess TEXT DEFAULT 'wait' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_limits PRIMARY KEY (name),
	CONSTRAINT ck_limits_bound CHECK (coalesce(concurrency, concurrency_per_key, rate_count, rate_per_key_count) IS NOT NULL),
	CONSTRAINT ck_limits_counts CHECK (concurrency BETWEEN 1 AND 10000 AND concurrency_per_key BETWEEN 1 AND 10000 AND rate_count BETWEEN 1 AND 10000 AND rate_per_key_count BETWEEN 1 AND 10000),
	CONSTRAINT ck_limits_rates CHECK ((rate_count IS NULL) = (rate_period_seconds IS NULL) AND (rate_per_key_count IS NULL) = (rate_per_key_period_seconds IS NULL) AND rate_period_seconds > 0 AND rate_per_key_period_seconds > 0),
	CONSTRAINT ck_limits_on_excess CHECK (on_excess IN ('wait', 'reject', 'cancel_oldest'))
)
;;
CREATE TABLE limit_places (
	task_id CHAR(32) NOT NULL,
	attempt INTEGER NOT NULL,
	limit_name TEXT NOT NULL,
	limit_key TEXT,
	admitted_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	started_at BIGINT,
	worker_id CHAR(32),
	worker_pid INTEGER,
	ended_at BIGINT,
	CONSTRAINT pk_limit_places PRIMARY KEY (task_id, attempt, limit_name)
)
;;
CREATE INDEX ix_limit_places_limit ON limit_places (limit_name, limit_key)
;;
CREATE INDEX ix_limit_places_worker ON limit_places (worker_id) WHERE worker_id IS NOT NULL AND ended_at IS NULL
;;
CREATE TABLE login_failures (
	"key" TEXT NOT NULL,
	failures INTEGER NOT NULL,
	window_started_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	blocked_until BIGINT,
	CONSTRAINT pk_login_failures PRIMARY KEY ("key")
)
;;
CREATE INDEX ix_login_failures_window_started_at ON login_failures (window_started_at)
;;
CREATE TABLE maintenance_lease (
	id INTEGER NOT NULL,
	holder CHAR(32) NOT NULL,
	renewed_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	expires_at BIGINT NOT NULL,
	rescue_after BIGINT NOT NULL,
	CONSTRAINT pk_maintenance_lease PRIMARY KEY (id),
	CONSTRAINT ck_maintenance_lease_single CHECK (id = 1)
)
;;
CREATE TABLE task_outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	consumer SMALLINT NOT NULL,
	task_id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	event TEXT NOT NULL,
	generation INTEGER NOT NULL,
	version INTEGER,
	finished_at BIGINT,
	task_type TEXT,
	celery_task_name TEXT,
	tags TEXT,
	webhook_url TEXT,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	failures INTEGER DEFAULT '0' NOT NULL,
	next_try_at BIGINT,
	error TEXT,
	set_aside_at BIGINT
)
;;
CREATE INDEX ix_task_outbox_ready ON task_outbox (consumer, id) WHERE set_aside_at IS NULL
;;
CREATE INDEX ix_task_outbox_task ON task_outbox (consumer, task_id, id)
;;
CREATE TABLE periods (
	name TEXT NOT NULL,
	fired_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_periods PRIMARY KEY (name)
)
;;
CREATE TABLE claimed_turns (
	queue TEXT NOT NULL,
	priority TEXT NOT NULL,
	turn FLOAT NOT NULL,
	CONSTRAINT pk_claimed_turns PRIMARY KEY (queue, priority, turn)
)
;;
CREATE TABLE worker_processes (
	id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	pid INTEGER NOT NULL,
	queues TEXT NOT NULL,
	concurrency INTEGER NOT NULL,
	task_names TEXT,
	processed BIGINT DEFAULT '0' NOT NULL,
	memory_bytes BIGINT,
	version TEXT,
	started_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	heartbeat_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	stopped_at BIGINT,
	CONSTRAINT pk_worker_processes PRIMARY KEY (id)
)
;;
CREATE INDEX ix_worker_processes_heartbeat_at ON worker_processes (heartbeat_at)
;;
CREATE TABLE task_sums (
	celery_task_name TEXT NOT NULL,
	queue TEXT NOT NULL,
	sent BIGINT DEFAULT '0' NOT NULL,
	succeeded BIGINT DEFAULT '0' NOT NULL,
	failed BIGINT DEFAULT '0' NOT NULL,
	revoked BIGINT DEFAULT '0' NOT NULL,
	retried BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_task_sums PRIMARY KEY (celery_task_name, queue)
)
;;
CREATE TABLE task_sum_durations (
	celery_task_name TEXT NOT NULL,
	queue TEXT NOT NULL,
	measure TEXT NOT NULL,
	bucket SMALLINT NOT NULL,
	number BIGINT NOT NULL,
	seconds FLOAT NOT NULL,
	CONSTRAINT pk_task_sum_durations PRIMARY KEY (celery_task_name, queue, measure, bucket)
)
;;
CREATE TABLE tasks (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	task_type TEXT NOT NULL,
	celery_task_name TEXT NOT NULL,
	args TEXT NOT NULL,
	kwargs TEXT NOT NULL,
	priority TEXT NOT NULL,
	queue TEXT NOT NULL,
	tags TEXT DEFAULT ('[]') NOT NULL,
	metadata TEXT DEFAULT '{}' NOT NULL,
	status TEXT DEFAULT 'pending' NOT NULL,
	status_reason TEXT,
	progress INTEGER DEFAULT '0' NOT NULL,
	progress_detail TEXT,
	result TEXT,
	error_type TEXT,
	error_message TEXT,
	error_fingerprint TEXT,
	run_at BIGINT,
	delay_seconds FLOAT,
	expires_at BIGINT,
	timeout_seconds FLOAT,
	retry_backoff_seconds FLOAT,
	max_attempts INTEGER DEFAULT '1' NOT NULL,
	max_attempts_named BOOLEAN DEFAULT 0 NOT NULL,
	rerun_lost BOOLEAN DEFAULT 1 NOT NULL,
	unique_key TEXT,
	on_conflict TEXT,
	active_key TEXT,
	"limit" TEXT,
	limit_key TEXT,
	depends_on TEXT,
	retry_of CHAR(32),
	schedule_id CHAR(32),
	workflow_id CHAR(32),
	user_limited BOOLEAN,
	held TEXT,
	webhook_url TEXT,
	followers SMALLINT,
	attempt INTEGER DEFAULT '0' NOT NULL,
	claim_id CHAR(32),
	worker TEXT,
	worker_id CHAR(32),
	worker_pid INTEGER,
	failures INTEGER DEFAULT '0' NOT NULL,
	crashes INTEGER DEFAULT '0' NOT NULL,
	celery_id CHAR(32) NOT NULL,
	generation INTEGER DEFAULT '1' NOT NULL,
	due_at BIGINT,
	turn FLOAT,
	delete_requested_at BIGINT,
	attached_bytes BIGINT DEFAULT '0' NOT NULL,
	version INTEGER DEFAULT '1' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	started_at BIGINT,
	finished_at BIGINT,
	cancel_requested_at BIGINT,
	CONSTRAINT pk_tasks PRIMARY KEY (id),
	CONSTRAINT ck_tasks_status CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'revoked')),
	CONSTRAINT ck_tasks_priority CHECK (priority IN ('low', 'normal', 'high', 'critical')),
	CONSTRAINT ck_tasks_running_has_claim CHECK ((status = 'running') = (claim_id IS NOT NULL)),
	CONSTRAINT ck_tasks_pending_is_due CHECK ((status = 'pending') = (due_at IS NOT NULL)),
	CONSTRAINT ck_tasks_turn CHECK (turn IS NULL OR status = 'pending'),
	CONSTRAINT ck_tasks_terminal_has_finish CHECK ((status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)),
	CONSTRAINT ck_tasks_on_conflict CHECK (on_conflict IN ('reject', 'return', 'replace')),
	CONSTRAINT ck_tasks_active_key CHECK (
    CASE WHEN unique_key IS NULL OR finished_at IS NOT NULL THEN active_key IS NULL
    ELSE active_key IS NOT NULL AND active_key = unique_key END
),
	CONSTRAINT ck_tasks_held CHECK (held IS NULL OR status = 'pending' AND held IN ('user', 'limit', 'limit_key', 'name', 'dependency')),
	CONSTRAINT ck_tasks_error_fingerprint CHECK ((status = 'failed') = (error_fingerprint IS NOT NULL)),
	CONSTRAINT ck_tasks_progress CHECK (progress BETWEEN 0 AND 100),
	CONSTRAINT ck_tasks_failures CHECK (max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts),
	CONSTRAINT ck_tasks_crashes CHECK (crashes BETWEEN 0 AND 3),
	CONSTRAINT ck_tasks_counters CHECK (attempt >= 0 AND generation >= 1 AND version >= 1),
	CONSTRAINT fk_tasks_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_tasks_admitted ON tasks ("limit", id) WHERE status = 'pending' AND "limit" IS NOT NULL AND held IS NULL
;;
CREATE INDEX ix_tasks_delete_requested ON tasks (id) WHERE delete_requested_at IS NOT NULL
;;
CREATE INDEX ix_tasks_ended ON tasks (user_id, finished_at) WHERE finished_at IS NOT NULL
;;
CREATE INDEX ix_tasks_error ON tasks (error_fingerprint, id DESC) WHERE error_fingerprint IS NOT NULL
;;
CREATE INDEX ix_tasks_expiring ON tasks (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL
;;
CREATE INDEX ix_tasks_held ON tasks ("limit", queue, priority, turn, id) WHERE status = 'pending' AND turn IS NOT NULL AND held = 'limit'
;;
CREATE INDEX ix_tasks_held_keys ON tasks ("limit", limit_key, held, queue, priority, turn, id) WHERE status = 'pending' AND turn IS NOT NULL AND held IS NOT NULL AND limit_key IS NOT NULL
;;
CREATE INDEX ix_tasks_held_users ON tasks (user_id, queue, priority, turn, id) WHERE status = 'pending' AND turn IS NOT NULL AND held = 'user'
;;
CREATE INDEX ix_tasks_limited ON tasks ("limit", user_id, id) WHERE status = 'pending' AND "limit" IS NOT NULL
;;
CREATE INDEX ix_tasks_odd_ids ON tasks (user_id, created_at, id) WHERE substr(id, 1, 12) NOT BETWEEN printf('%012x', created_at / 1000 - 60000) AND printf('%012x', created_at / 1000 + 60000)
;;
CREATE INDEX ix_tasks_ready ON tasks (queue, priority, turn, id) WHERE status = 'pending' AND turn IS NOT NULL AND held IS NULL
;;
CREATE INDEX ix_tasks_running ON tasks (worker_id) WHERE status = 'running'
;;
CREATE INDEX ix_tasks_schedule ON tasks (schedule_id, id DESC) WHERE schedule_id IS NOT NULL
;;
CREATE INDEX ix_tasks_unknown ON tasks (queue, celery_task_name) WHERE status = 'pending' AND held = 'name'
;;
CREATE INDEX ix_tasks_unplaced ON tasks (due_at) WHERE status = 'pending' AND turn IS NULL
;;
CREATE INDEX ix_tasks_user ON tasks (user_id, id DESC)
;;
CREATE INDEX ix_tasks_user_status ON tasks (user_id, status, id DESC)
;;
CREATE UNIQUE INDEX uq_tasks_active_key ON tasks (user_id, active_key) WHERE active_key IS NOT NULL
;;
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks
BEGIN
    SELECT CASE
    WHEN NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id OR NEW.celery_task_name <> OLD.celery_task_name THEN RAISE(ABORT, 'tasks_guard: identity of task is fixed')
    WHEN NEW.version NOT IN (OLD.version, OLD.version + 1) THEN RAISE(ABORT, 'tasks_guard: version of task from OLD.version to NEW.version')
    WHEN NEW.generation = OLD.generation AND (NEW.celery_id <> OLD.celery_id
            OR OLD.cancel_requested_at IS NOT NULL AND NEW.cancel_requested_at IS NULL) THEN RAISE(ABORT, 'tasks_guard: celery_id and a request to cancel task last for a generation')
    WHEN NEW.status = OLD.status THEN CASE
    WHEN NEW.attempt <> OLD.attempt OR NEW.generation <> OLD.generation OR NEW.failures <> OLD.failures
            OR NEW.crashes <> OLD.crashes OR NEW.claim_id IS NOT OLD.claim_id THEN RAISE(ABORT, 'tasks_guard: counters of task change only with its status')
    WHEN OLD.finished_at IS NOT NULL AND (NEW.finished_at <> OLD.finished_at OR NEW.progress <> OLD.progress
            OR NEW.progress_detail IS NOT OLD.progress_detail OR NEW.result IS NOT OLD.result OR NEW.error_type IS NOT OLD.error_type
            OR NEW.error_message IS NOT OLD.error_message OR NEW.args <> OLD.args OR NEW.kwargs <> OLD.kwargs) THEN RAISE(ABORT, 'tasks_guard: task has ended')
    END
    WHEN OLD.status IN ('pending', 'running') AND (NEW.failures <> OLD.failures OR NEW.crashes <> OLD.crashes)
            AND NOT (OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
            AND NEW.failures >= OLD.failures AND NEW.crashes >= OLD.crashes
            AND NEW.failures + NEW.crashes = OLD.failures + OLD.crashes + 1) THEN RAISE(ABORT, 'tasks_guard: an attempt of task counts once, as it fails or is lost')
    WHEN OLD.status = 'pending' AND NEW.status = 'running' THEN CASE
    WHEN NEW.attempt <> OLD.attempt + 1 OR NEW.generation <> OLD.generation THEN RAISE(ABORT, 'tasks_guard: a claim of task must raise attempt by one')
    WHEN NEW.`limit` IS NOT NULL OR NEW.user_limited THEN CASE
    WHEN NEW.`limit` IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM limit_places WHERE task_id = NEW.id AND attempt = NEW.attempt AND limit_name = NEW.`limit`
            AND worker_id = NEW.worker_id AND started_at IS NOT NULL AND ended_at IS NULL) THEN RAISE(ABORT, 'tasks_guard: task has no place')
    WHEN NEW.user_limited AND NOT EXISTS (
            SELECT 1 FROM limit_places WHERE task_id = NEW.id AND attempt = NEW.attempt AND limit_name = '@user'
            AND worker_id = NEW.worker_id AND started_at IS NOT NULL AND ended_at IS NULL) THEN RAISE(ABORT, 'tasks_guard: task has no place')
    END
    END
    WHEN NEW.attempt <> OLD.attempt THEN RAISE(ABORT, 'tasks_guard: attempt of task rises with a claim alone')
    WHEN OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending' THEN CASE
    WHEN NEW.generation <> OLD.generation + 1 OR NEW.celery_id = OLD.celery_id
            OR NEW.failures <> 0 OR NEW.crashes <> 0 THEN RAISE(ABORT, 'tasks_guard: a retry of task starts a new generation')
    END
    WHEN NEW.generation <> OLD.generation THEN RAISE(ABORT, 'tasks_guard: generation of task rises with a retry alone')
    WHEN OLD.status <> 'running' AND NOT (OLD.status = 'pending' AND NEW.status = 'revoked') THEN CASE
    WHEN OLD.status = 'pending' AND NEW.status = 'running' THEN RAISE(ABORT, 'tasks_guard: task cannot go from pending to running')
    WHEN OLD.status = 'pending' AND NEW.status = 'succeeded' THEN RAISE(ABORT, 'tasks_guard: task cannot go from pending to succeeded')
    WHEN OLD.status = 'pending' AND NEW.status = 'failed' THEN RAISE(ABORT, 'tasks_guard: task cannot go from pending to failed')
    WHEN OLD.status = 'pending' AND NEW.status = 'revoked' THEN RAISE(ABORT, 'tasks_guard: task cannot go from pending to revoked')
    WHEN OLD.status = 'running' AND NEW.status = 'pending' THEN RAISE(ABORT, 'tasks_guard: task cannot go from running to pending')
    WHEN OLD.status = 'running' AND NEW.status = 'succeeded' THEN RAISE(ABORT, 'tasks_guard: task cannot go from running to succeeded')
    WHEN OLD.status = 'running' AND NEW.status = 'failed' THEN RAISE(ABORT, 'tasks_guard: task cannot go from running to failed')
    WHEN OLD.status = 'running' AND NEW.status = 'revoked' THEN RAISE(ABORT, 'tasks_guard: task cannot go from running to revoked')
    WHEN OLD.status = 'succeeded' AND NEW.status = 'pending' THEN RAISE(ABORT, 'tasks_guard: task cannot go from succeeded to pending')
    WHEN OLD.status = 'succeeded' AND NEW.status = 'running' THEN RAISE(ABORT, 'tasks_guard: task cannot go from succeeded to running')
    WHEN OLD.status = 'succeeded' AND NEW.status = 'failed' THEN RAISE(ABORT, 'tasks_guard: task cannot go from succeeded to failed')
    WHEN OLD.status = 'succeeded' AND NEW.status = 'revoked' THEN RAISE(ABORT, 'tasks_guard: task cannot go from succeeded to revoked')
    WHEN OLD.status = 'failed' AND NEW.status = 'pending' THEN RAISE(ABORT, 'tasks_guard: task cannot go from failed to pending')
    WHEN OLD.status = 'failed' AND NEW.status = 'running' THEN RAISE(ABORT, 'tasks_guard: task cannot go from failed to running')
    WHEN OLD.status = 'failed' AND NEW.status = 'succeeded' THEN RAISE(ABORT, 'tasks_guard: task cannot go from failed to succeeded')
    WHEN OLD.status = 'failed' AND NEW.status = 'revoked' THEN RAISE(ABORT, 'tasks_guard: task cannot go from failed to revoked')
    WHEN OLD.status = 'revoked' AND NEW.status = 'pending' THEN RAISE(ABORT, 'tasks_guard: task cannot go from revoked to pending')
    WHEN OLD.status = 'revoked' AND NEW.status = 'running' THEN RAISE(ABORT, 'tasks_guard: task cannot go from revoked to running')
    WHEN OLD.status = 'revoked' AND NEW.status = 'succeeded' THEN RAISE(ABORT, 'tasks_guard: task cannot go from revoked to succeeded')
    WHEN OLD.status = 'revoked' AND NEW.status = 'failed' THEN RAISE(ABORT, 'tasks_guard: task cannot go from revoked to failed')
    ELSE RAISE(ABORT, 'tasks_guard: task cannot go from OLD.status to NEW.status')
    END
    WHEN OLD.status = 'running' AND NEW.status IN ('failed', 'pending') AND OLD.cancel_requested_at IS NOT NULL THEN RAISE(ABORT, 'tasks_guard: the cancelled task can only succeed or be revoked')
    END;
END
;;
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks WHEN NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message, ended_at) VALUES (
        NEW.user_id,
        NEW.status,
        NEW.task_type,
        NEW.celery_task_name,
        NEW.priority,
        NEW.queue,
        1,
        1024 + NEW.attached_bytes + coalesce(octet_length(NEW.args), 0) + coalesce(octet_length(NEW.kwargs), 0) + coalesce(octet_length(NEW.progress_detail), 0) + coalesce(octet_length(NEW.result), 0) + coalesce(octet_length(NEW.error_message), 0),
        NEW.error_fingerprint,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN NEW.error_type END,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN substr(NEW.error_message, 1, 500) END,
        NEW.finished_at
    );
END
;;
CREATE TRIGGER tasks_count_ended AFTER UPDATE OF status ON tasks
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message, ended_at, waited, ran) VALUES (
        NEW.user_id,
        NEW.status,
        NEW.task_type,
        NEW.celery_task_name,
        NEW.priority,
        NEW.queue,
        1,
        1024 + NEW.attached_bytes + coalesce(octet_length(NEW.args), 0) + coalesce(octet_length(NEW.kwargs), 0) + coalesce(octet_length(NEW.progress_detail), 0) + coalesce(octet_length(NEW.result), 0) + coalesce(octet_length(NEW.error_message), 0),
        NEW.error_fingerprint,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN NEW.error_type END,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN substr(NEW.error_message, 1, 500) END,
        NEW.finished_at,
        CASE WHEN OLD.status = 'running' AND NEW.generation = 1 THEN (NEW.started_at - max(max(NEW.created_at, coalesce(NEW.run_at, NEW.created_at)), coalesce((SELECT finished_at FROM task_attempts WHERE task_id = NEW.id AND number = NEW.attempt - 1), NEW.created_at))) / 1e6 END,
        CASE WHEN OLD.status = 'running' THEN (NEW.finished_at - NEW.started_at) / 1e6 END
    );
END
;;
CREATE TRIGGER tasks_count_left AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes, error_fingerprint ON tasks
WHEN OLD.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message) VALUES (
        OLD.user_id,
        OLD.status,
        OLD.task_type,
        OLD.celery_task_name,
        OLD.priority,
        OLD.queue,
        -1,
        -(1024 + OLD.attached_bytes + coalesce(octet_length(OLD.args), 0) + coalesce(octet_length(OLD.kwargs), 0) + coalesce(octet_length(OLD.progress_detail), 0) + coalesce(octet_length(OLD.result), 0) + coalesce(octet_length(OLD.error_message), 0)),
        OLD.error_fingerprint,
        CASE WHEN OLD.error_fingerprint IS NOT NULL THEN OLD.error_type END,
        CASE WHEN OLD.error_fingerprint IS NOT NULL THEN substr(OLD.error_message, 1, 500) END
    );
END
;;
CREATE TRIGGER tasks_count_stayed AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes, error_fingerprint ON tasks
WHEN OLD.finished_at IS NOT NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message) VALUES (
        NEW.user_id,
        NEW.status,
        NEW.task_type,
        NEW.celery_task_name,
        NEW.priority,
        NEW.queue,
        1,
        1024 + NEW.attached_bytes + coalesce(octet_length(NEW.args), 0) + coalesce(octet_length(NEW.kwargs), 0) + coalesce(octet_length(NEW.progress_detail), 0) + coalesce(octet_length(NEW.result), 0) + coalesce(octet_length(NEW.error_message), 0),
        NEW.error_fingerprint,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN NEW.error_type END,
        CASE WHEN NEW.error_fingerprint IS NOT NULL THEN substr(NEW.error_message, 1, 500) END
    );
END
;;
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks WHEN OLD.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message) VALUES (
        OLD.user_id,
        OLD.status,
        OLD.task_type,
        OLD.celery_task_name,
        OLD.priority,
        OLD.queue,
        -1,
        -(1024 + OLD.attached_bytes + coalesce(octet_length(OLD.args), 0) + coalesce(octet_length(OLD.kwargs), 0) + coalesce(octet_length(OLD.progress_detail), 0) + coalesce(octet_length(OLD.result), 0) + coalesce(octet_length(OLD.error_message), 0)),
        OLD.error_fingerprint,
        CASE WHEN OLD.error_fingerprint IS NOT NULL THEN OLD.error_type END,
        CASE WHEN OLD.error_fingerprint IS NOT NULL THEN substr(OLD.error_message, 1, 500) END
    );
END
;;
CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, NEW.id, NEW.user_id, NEW.status, NEW.generation, NEW.version, NEW.finished_at, NEW.task_type, NEW.celery_task_name, NEW.tags, NEW.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
END
;;
CREATE TRIGGER tasks_followed_retried AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, NEW.id, NEW.user_id, 'retried', NEW.generation, NEW.version, NEW.finished_at, NEW.task_type, NEW.celery_task_name, NEW.tags, NEW.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
END
;;
CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks WHEN OLD.followers <> 0
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, OLD.id, OLD.user_id, 'deleted', OLD.generation, OLD.version, OLD.finished_at, OLD.task_type, OLD.celery_task_name, OLD.tags, OLD.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((OLD.followers >> consumers.number) & 1) = 1;
END
;;
CREATE TABLE api_keys (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	prefix TEXT NOT NULL,
	digest BLOB NOT NULL,
	scopes TEXT NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	expires_at BIGINT,
	last_used_at BIGINT,
	revoked_at BIGINT,
	CONSTRAINT pk_api_keys PRIMARY KEY (id),
	CONSTRAINT fk_api_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT uq_api_keys_digest UNIQUE (digest)
)
;;
CREATE INDEX ix_api_keys_user_id_id ON api_keys (user_id, id)
;;
CREATE TABLE bulk_deeds (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	deed TEXT NOT NULL,
	as_admin BOOLEAN DEFAULT 0 NOT NULL,
	within_quota BOOLEAN DEFAULT 0 NOT NULL,
	state TEXT DEFAULT 'running' NOT NULL,
	matched INTEGER DEFAULT '0' NOT NULL,
	done INTEGER DEFAULT '0' NOT NULL,
	failed INTEGER DEFAULT '0' NOT NULL,
	skipped TEXT DEFAULT '{}' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	finished_at BIGINT,
	filter TEXT,
	selected BLOB,
	CONSTRAINT pk_bulk_deeds PRIMARY KEY (id),
	CONSTRAINT ck_bulk_deeds_deed CHECK (deed IN ('cancel', 'retry', 'delete')),
	CONSTRAINT ck_bulk_deeds_state CHECK (state IN ('running', 'finished', 'aborted')),
	CONSTRAINT ck_bulk_deeds_finished_at CHECK ((state = 'running') = (finished_at IS NULL)),
	CONSTRAINT fk_bulk_deeds_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_bulk_deeds_state ON bulk_deeds (state, user_id, created_at)
;;
CREATE INDEX ix_bulk_deeds_user ON bulk_deeds (user_id)
;;
CREATE TABLE claim_holds (
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	since BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	reason TEXT,
	held_by CHAR(32),
	CONSTRAINT pk_claim_holds PRIMARY KEY (kind, name),
	CONSTRAINT ck_claim_holds_kind CHECK (kind IN ('queue', 'worker')),
	CONSTRAINT fk_claim_holds_held_by_users FOREIGN KEY(held_by) REFERENCES users (id) ON DELETE SET NULL
)
;;
CREATE TABLE daily_counts (
	user_id CHAR(32) NOT NULL,
	what TEXT NOT NULL,
	day DATE NOT NULL,
	used BIGINT NOT NULL,
	CONSTRAINT pk_daily_counts PRIMARY KEY (user_id, what, day),
	CONSTRAINT fk_daily_counts_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE TABLE error_groups (
	fingerprint TEXT NOT NULL,
	user_id CHAR(32) NOT NULL,
	celery_task_name TEXT NOT NULL,
	error_type TEXT NOT NULL,
	message TEXT,
	first_seen BIGINT NOT NULL,
	last_seen BIGINT NOT NULL,
	count BIGINT NOT NULL,
	state TEXT DEFAULT 'open' NOT NULL,
	ignored_until BIGINT,
	state_set_at BIGINT,
	CONSTRAINT pk_error_groups PRIMARY KEY (fingerprint),
	CONSTRAINT ck_error_groups_state CHECK (state IN ('open', 'resolved', 'ignored')),
	CONSTRAINT ck_error_groups_ignored_until CHECK (ignored_until IS NULL OR state = 'ignored'),
	CONSTRAINT fk_error_groups_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_error_groups_seen ON error_groups (last_seen DESC, fingerprint DESC)
;;
CREATE INDEX ix_error_groups_user ON error_groups (user_id, last_seen DESC, fingerprint DESC)
;;
CREATE TABLE login_sessions (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	expires_at BIGINT NOT NULL,
	revoked_at BIGINT,
	revoked_why TEXT,
	address TEXT,
	user_agent TEXT,
	CONSTRAINT pk_login_sessions PRIMARY KEY (id),
	CONSTRAINT fk_login_sessions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_login_sessions_expires_at ON login_sessions (expires_at)
;;
CREATE INDEX ix_login_sessions_user_id ON login_sessions (user_id)
;;
CREATE TABLE login_blocks (
	user_id CHAR(32) NOT NULL,
	block BLOB NOT NULL,
	signed_in_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_login_blocks PRIMARY KEY (user_id, block),
	CONSTRAINT fk_login_blocks_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_login_blocks_signed_in_at ON login_blocks (signed_in_at)
;;
CREATE TABLE schedules (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	task TEXT NOT NULL,
	celery_task_name TEXT NOT NULL,
	cron TEXT,
	every_seconds FLOAT,
	timezone TEXT NOT NULL,
	start_at BIGINT,
	end_at BIGINT,
	jitter_seconds FLOAT DEFAULT '0' NOT NULL,
	overlap TEXT DEFAULT 'skip' NOT NULL,
	catch_up TEXT DEFAULT 'latest' NOT NULL,
	catch_up_seconds FLOAT DEFAULT '3600' NOT NULL,
	paused BOOLEAN DEFAULT 0 NOT NULL,
	pause_reason TEXT,
	resumed_at BIGINT,
	tags TEXT DEFAULT ('[]') NOT NULL,
	metadata TEXT DEFAULT '{}' NOT NULL,
	done_until BIGINT NOT NULL,
	next_run_at BIGINT,
	due_at BIGINT,
	held_for BIGINT,
	tzdata TEXT NOT NULL,
	last_run_at BIGINT,
	last_task_id CHAR(32),
	runs BIGINT DEFAULT '0' NOT NULL,
	skipped BIGINT DEFAULT '0' NOT NULL,
	skip_told_at BIGINT,
	version INTEGER DEFAULT '1' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_schedules PRIMARY KEY (id),
	CONSTRAINT ck_schedules_timing CHECK ((cron IS NULL) <> (every_seconds IS NULL)),
	CONSTRAINT ck_schedules_overlap CHECK (overlap IN ('skip', 'allow', 'buffer_one', 'cancel_running')),
	CONSTRAINT ck_schedules_catch_up CHECK (catch_up IN ('none', 'latest', 'all')),
	CONSTRAINT fk_schedules_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_schedules_due ON schedules (due_at)
;;
CREATE INDEX ix_schedules_held ON schedules (held_for) WHERE held_for IS NOT NULL
;;
CREATE INDEX ix_schedules_user ON schedules (user_id, id)
;;
CREATE TABLE second_factors (
	user_id CHAR(32) NOT NULL,
	secret BLOB NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	confirmed_at BIGINT,
	last_step BIGINT,
	CONSTRAINT pk_second_factors PRIMARY KEY (user_id),
	CONSTRAINT fk_second_factors_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE TABLE user_turns (
	user_id CHAR(32) NOT NULL,
	queue TEXT NOT NULL,
	priority TEXT NOT NULL,
	last FLOAT NOT NULL,
	clock FLOAT NOT NULL,
	CONSTRAINT pk_user_turns PRIMARY KEY (user_id, queue, priority),
	CONSTRAINT fk_user_turns_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE TABLE webhook_endpoints (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	url TEXT NOT NULL,
	events TEXT NOT NULL,
	filter_task_type TEXT,
	filter_tag TEXT,
	filter_celery_task_name TEXT,
	enabled BOOLEAN DEFAULT 1 NOT NULL,
	disabled_at BIGINT,
	disabled_reason TEXT,
	description TEXT,
	secret BLOB NOT NULL,
	old_secret BLOB,
	old_secret_until BIGINT,
	failing_since BIGINT,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
	CONSTRAINT ck_webhook_endpoints_disabled_reason CHECK (disabled_reason IN ('gone', 'failing')),
	CONSTRAINT fk_webhook_endpoints_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_webhook_endpoints_user ON webhook_endpoints (user_id, id)
;;
CREATE TABLE webhook_deliveries (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	endpoint_id CHAR(32),
	task_id CHAR(32),
	schedule_id CHAR(32),
	event_id CHAR(32) NOT NULL,
	type TEXT NOT NULL,
	event_at BIGINT NOT NULL,
	generation INTEGER,
	url TEXT,
	body BLOB,
	state TEXT DEFAULT 'pending' NOT NULL,
	attempts TEXT NOT NULL,
	tries INTEGER DEFAULT '0' NOT NULL,
	lane CHAR(32),
	next_attempt_at BIGINT,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	bytes BIGINT DEFAULT '1024' NOT NULL,
	CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
	CONSTRAINT ck_webhook_deliveries_state CHECK (state IN ('pending', 'delivered', 'failed', 'dropped')),
	CONSTRAINT ck_webhook_deliveries_pending_is_due CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
	CONSTRAINT ck_webhook_deliveries_pending_has_lane CHECK ((state = 'pending') = (lane IS NOT NULL)),
	CONSTRAINT fk_webhook_deliveries_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_webhook_deliveries_before ON webhook_deliveries (task_id, lane, tries, generation)
;;
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (lane, next_attempt_at, id)
;;
CREATE INDEX ix_webhook_deliveries_endpoint ON webhook_deliveries (endpoint_id, id)
;;
CREATE INDEX ix_webhook_deliveries_task ON webhook_deliveries (task_id, id)
;;
CREATE INDEX ix_webhook_deliveries_user ON webhook_deliveries (user_id, bytes)
;;
CREATE TABLE workflows (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	on_failure TEXT DEFAULT 'cancel' NOT NULL,
	status TEXT,
	generation INTEGER DEFAULT '1' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	finished_at BIGINT,
	CONSTRAINT pk_workflows PRIMARY KEY (id),
	CONSTRAINT ck_workflows_on_failure CHECK (on_failure IN ('cancel', 'continue')),
	CONSTRAINT ck_workflows_status CHECK (status IS NULL OR status IN ('succeeded', 'failed', 'revoked')),
	CONSTRAINT ck_workflows_finished CHECK ((status IS NULL) = (finished_at IS NULL)),
	CONSTRAINT fk_workflows_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_workflows_user ON workflows (user_id, id)
;;
CREATE TABLE task_attempts (
	task_id CHAR(32) NOT NULL,
	number INTEGER NOT NULL,
	worker TEXT,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL,
	outcome TEXT NOT NULL,
	error_type TEXT,
	error_message TEXT,
	traceback TEXT,
	CONSTRAINT pk_task_attempts PRIMARY KEY (task_id, number),
	CONSTRAINT ck_task_attempts_outcome CHECK (outcome IN ('running', 'succeeded', 'failed', 'retried', 'revoked', 'worker_lost', 'handed_back')),
	CONSTRAINT fk_task_attempts_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
)
;;
CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts WHEN NEW.outcome IN ('retried', 'worker_lost')
BEGIN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes)
    SELECT user_id, status, task_type, celery_task_name, priority, queue, 0, 0 FROM tasks WHERE id = NEW.task_id AND due_at IS NOT NULL;
END
;;
CREATE TABLE bulk_batches (
	deed_id CHAR(32) NOT NULL,
	number INTEGER NOT NULL,
	task_ids BLOB NOT NULL,
	CONSTRAINT pk_bulk_batches PRIMARY KEY (deed_id, number),
	CONSTRAINT fk_bulk_batches_deed_id_bulk_deeds FOREIGN KEY(deed_id) REFERENCES bulk_deeds (id) ON DELETE CASCADE
)
;;
CREATE TABLE idempotency_keys (
	user_id CHAR(32) NOT NULL,
	"key" TEXT NOT NULL,
	fingerprint BLOB NOT NULL,
	task_id CHAR(32),
	task_ids TEXT,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, "key"),
	CONSTRAINT fk_idempotency_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_idempotency_keys_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL
)
;;
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)
;;
CREATE INDEX ix_idempotency_keys_task_id ON idempotency_keys (task_id)
;;
CREATE TABLE refresh_tokens (
	digest BLOB NOT NULL,
	session_id CHAR(32) NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	expires_at BIGINT NOT NULL,
	used_at BIGINT,
	CONSTRAINT pk_refresh_tokens PRIMARY KEY (digest),
	CONSTRAINT fk_refresh_tokens_session_id_login_sessions FOREIGN KEY(session_id) REFERENCES login_sessions (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_refresh_tokens_session_id ON refresh_tokens (session_id)
;;
CREATE TABLE schedule_runs (
	schedule_id CHAR(32) NOT NULL,
	scheduled_for BIGINT NOT NULL,
	kind SMALLINT NOT NULL,
	task_id CHAR(32),
	skipped TEXT,
	count INTEGER,
	until BIGINT,
	by_backfill BOOLEAN DEFAULT 0 NOT NULL,
	is_open BOOLEAN DEFAULT 0 NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	CONSTRAINT pk_schedule_runs PRIMARY KEY (schedule_id, scheduled_for, kind),
	CONSTRAINT ck_schedule_runs_task CHECK ((task_id IS NULL) <> (skipped IS NULL)),
	CONSTRAINT ck_schedule_runs_kind CHECK (kind BETWEEN 0 AND 2),
	CONSTRAINT fk_schedule_runs_schedule_id_schedules FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_schedule_runs_created ON schedule_runs (created_at)
;;
CREATE INDEX ix_schedule_runs_open ON schedule_runs (schedule_id) WHERE is_open = 1
;;
CREATE INDEX ix_schedule_runs_task ON schedule_runs (task_id)
;;
CREATE TABLE recovery_codes (
	user_id CHAR(32) NOT NULL,
	digest BLOB NOT NULL,
	CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, digest),
	CONSTRAINT fk_recovery_codes_user_id_second_factors FOREIGN KEY(user_id) REFERENCES second_factors (user_id) ON DELETE CASCADE
)
;;
CREATE TABLE files (
	id CHAR(32) NOT NULL,
	user_id CHAR(32),
	task_id CHAR(32),
	attempt INTEGER,
	name TEXT NOT NULL,
	content_type TEXT NOT NULL,
	size BIGINT DEFAULT '0' NOT NULL,
	sha256 TEXT,
	state TEXT DEFAULT 'writing' NOT NULL,
	created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	touched_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)) NOT NULL,
	expires_at BIGINT,
	CONSTRAINT pk_files PRIMARY KEY (id),
	CONSTRAINT ck_files_state CHECK (state IN ('writing', 'held', 'partial', 'kept', 'dropped')),
	CONSTRAINT ck_files_sha256 CHECK (sha256 IS NOT NULL OR state IN ('writing', 'dropped')),
	CONSTRAINT fk_files_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
	CONSTRAINT fk_files_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL
)
;;
CREATE INDEX ix_files_bytes ON files (user_id, size)
;;
CREATE INDEX ix_files_listed ON files (attempt, id)
;;
CREATE INDEX ix_files_state ON files (state, expires_at)
;;
CREATE INDEX ix_files_task ON files (task_id, attempt)
;;
CREATE INDEX ix_files_user ON files (user_id, attempt, id)
;;
CREATE TABLE task_dependencies (
	child_id CHAR(32) NOT NULL,
	parent_id CHAR(32) NOT NULL,
	goes_on BOOLEAN NOT NULL,
	is_open BOOLEAN NOT NULL,
	CONSTRAINT pk_task_dependencies PRIMARY KEY (child_id, parent_id),
	CONSTRAINT fk_task_dependencies_child_id_tasks FOREIGN KEY(child_id) REFERENCES tasks (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_task_dependencies_parent ON task_dependencies (parent_id, is_open)
;;
CREATE TABLE task_logs (
	task_id CHAR(32) NOT NULL,
	seq BIGINT NOT NULL,
	attempt INTEGER NOT NULL,
	at BIGINT NOT NULL,
	level SMALLINT NOT NULL,
	logger TEXT NOT NULL,
	message TEXT NOT NULL,
	fields TEXT NOT NULL,
	CONSTRAINT pk_task_logs PRIMARY KEY (task_id, seq),
	CONSTRAINT fk_task_logs_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
)
;;
CREATE TABLE task_output (
	task_id CHAR(32) NOT NULL,
	seq BIGINT NOT NULL,
	stream TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	at BIGINT NOT NULL,
	chunk TEXT NOT NULL,
	bytes INTEGER NOT NULL,
	CONSTRAINT pk_task_output PRIMARY KEY (task_id, seq),
	CONSTRAINT fk_task_output_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
)
;;
CREATE TABLE task_steps (
	task_id CHAR(32) NOT NULL,
	name TEXT NOT NULL,
	seq BIGINT NOT NULL,
	user_id CHAR(32) NOT NULL,
	attempt INTEGER NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL,
	bytes INTEGER NOT NULL,
	result TEXT,
	CONSTRAINT pk_task_steps PRIMARY KEY (task_id, name),
	CONSTRAINT fk_task_steps_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_task_steps_user ON task_steps (user_id, bytes)
;;
CREATE TABLE workflow_nodes (
	workflow_id CHAR(32) NOT NULL,
	position INTEGER NOT NULL,
	ref TEXT NOT NULL,
	parents TEXT NOT NULL,
	task_id CHAR(32),
	status TEXT DEFAULT 'pending' NOT NULL,
	version INTEGER DEFAULT '1' NOT NULL,
	CONSTRAINT pk_workflow_nodes PRIMARY KEY (workflow_id, position),
	CONSTRAINT uq_workflow_nodes_ref UNIQUE (workflow_id, ref),
	CONSTRAINT fk_workflow_nodes_workflow_id_workflows FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_workflow_nodes_status ON workflow_nodes (workflow_id, status)
;;
CREATE INDEX ix_workflow_nodes_task ON workflow_nodes (task_id)
;;
CREATE TABLE file_uses (
	file_id CHAR(32) NOT NULL,
	used_by CHAR(32) NOT NULL,
	CONSTRAINT pk_file_uses PRIMARY KEY (file_id, used_by),
	CONSTRAINT fk_file_uses_file_id_files FOREIGN KEY(file_id) REFERENCES files (id) ON DELETE CASCADE
)
;;
CREATE INDEX ix_file_uses_by ON file_uses (used_by)
