CREATE TABLE task_totals (
	user_id BINARY(16) NOT NULL,
	status VARCHAR(32) NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_totals PRIMARY KEY (user_id, status)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_counts (
	user_id BINARY(16) NOT NULL,
	task_type VARCHAR(200) NOT NULL,
	celery_task_name VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	status VARCHAR(32) NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_counts PRIMARY KEY (user_id, task_type, celery_task_name, priority, queue, status)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_count_changes (
	user_id BINARY(16) NOT NULL,
	status VARCHAR(32) NOT NULL,
	task_type VARCHAR(200) NOT NULL,
	celery_task_name VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	number INTEGER NOT NULL,
	bytes BIGINT NOT NULL DEFAULT '0',
	ended_at DATETIME(6),
	waited DOUBLE,
	ran DOUBLE,
	error VARCHAR(32),
	error_type LONGTEXT,
	error_message LONGTEXT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
ALTER TABLE task_count_changes ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST
;;
CREATE TABLE stored_bytes (
	user_id BINARY(16) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	bytes BIGINT NOT NULL,
	CONSTRAINT pk_stored_bytes PRIMARY KEY (user_id, kind)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_submissions (
	user_id BINARY(16) NOT NULL,
	at DATETIME(6) NOT NULL,
	task_type VARCHAR(200) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	number INTEGER NOT NULL,
	celery_task_name VARCHAR(200)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
ALTER TABLE task_submissions ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST
;;
CREATE TABLE task_stats (
	user_id BINARY(16) NOT NULL,
	step_seconds INTEGER NOT NULL,
	at DATETIME(6) NOT NULL,
	task_type VARCHAR(200) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	submitted BIGINT NOT NULL,
	succeeded BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	revoked BIGINT NOT NULL,
	CONSTRAINT pk_task_stats PRIMARY KEY (user_id, step_seconds, at, task_type, queue, priority)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_task_stats_at ON task_stats (step_seconds, at)
;;
CREATE TABLE task_durations (
	user_id BINARY(16) NOT NULL,
	step_seconds INTEGER NOT NULL,
	at DATETIME(6) NOT NULL,
	measure VARCHAR(32) NOT NULL,
	bucket SMALLINT NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_task_durations PRIMARY KEY (user_id, step_seconds, at, measure, bucket)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_task_durations_at ON task_durations (step_seconds, at)
;;
CREATE TABLE users (
	id BINARY(16) NOT NULL,
	username LONGTEXT NOT NULL,
	username_normalized VARCHAR(200) NOT NULL,
	email LONGTEXT NOT NULL,
	email_normalized VARCHAR(320) NOT NULL,
	password_hash LONGTEXT NOT NULL,
	`role` VARCHAR(32) NOT NULL DEFAULT 'user',
	is_active BOOL NOT NULL DEFAULT true,
	weight INTEGER NOT NULL DEFAULT '1',
	max_priority VARCHAR(32) NOT NULL DEFAULT 'critical',
	followers SMALLINT,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT ck_users_role CHECK (role IN ('user', 'admin')),
	CONSTRAINT ck_users_weight CHECK (weight BETWEEN 1 AND 100),
	CONSTRAINT ck_users_max_priority CHECK (max_priority IN ('low', 'normal', 'high', 'critical')),
	CONSTRAINT uq_users_username_normalized UNIQUE (username_normalized),
	CONSTRAINT uq_users_email_normalized UNIQUE (email_normalized)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TRIGGER users_delete_tasks BEFORE DELETE ON users FOR EACH ROW
DELETE FROM tasks WHERE user_id = OLD.id
;;
CREATE TABLE audit_events (
	id BINARY(16) NOT NULL,
	at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	event VARCHAR(64) NOT NULL,
	origin VARCHAR(16) NOT NULL,
	actor_id BINARY(16),
	actor_name VARCHAR(128),
	object_kind VARCHAR(32) NOT NULL,
	object_id VARCHAR(128) NOT NULL,
	address VARCHAR(64),
	request_id VARCHAR(64),
	detail LONGTEXT NOT NULL DEFAULT ('{}'),
	CONSTRAINT pk_audit_events PRIMARY KEY (id),
	CONSTRAINT ck_audit_events_detail CHECK (octet_length(detail) <= 4096)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_audit_events_actor ON audit_events (actor_id, at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_at ON audit_events (at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_event ON audit_events (event, at DESC, id DESC)
;;
CREATE INDEX ix_audit_events_object ON audit_events (object_id, at DESC, id DESC)
;;
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'audit_events is append-only: no UPDATE'
;;
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events FOR EACH ROW
IF @task_service_prunes IS NULL THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'audit_events is append-only: no DELETE';
END IF
;;
CREATE TABLE error_times (
	fingerprint VARCHAR(32) NOT NULL,
	at DATETIME(6) NOT NULL,
	number BIGINT NOT NULL,
	CONSTRAINT pk_error_times PRIMARY KEY (fingerprint, at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_error_times_at ON error_times (at)
;;
CREATE TABLE limits (
	name VARCHAR(200) NOT NULL,
	concurrency INTEGER,
	concurrency_per_key INTEGER,
	rate_count INTEGER,
	rate_period_seconds DOUBLE,
	rate_per_key_count INTEGER,
	rate_per_key_period_seconds DOUBLE,
	on_excess VARCHAR(32) NOT NULL DEFAULT 'wait',
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_limits PRIMARY KEY (name),
	CONSTRAINT ck_limits_bound CHECK (coalesce(concurrency, concurrency_per_key, rate_count, rate_per_key_count) IS NOT NULL),
	CONSTRAINT ck_limits_counts CHECK (concurrency BETWEEN 1 AND 10000 AND concurrency_per_key BETWEEN 1 AND 10000 AND rate_count BETWEEN 1 AND 10000 AND rate_per_key_count BETWEEN 1 AND 10000),
	CONSTRAINT ck_limits_rates CHECK ((rate_count IS NULL) = (rate_period_seconds IS NULL) AND (rate_per_key_count IS NULL) = (rate_per_key_period_seconds IS NULL) AND rate_period_seconds > 0 AND rate_per_key_period_seconds > 0),
	CONSTRAINT ck_limits_on_excess CHECK (on_excess IN ('wait', 'reject', 'cancel_oldest'))
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE limit_places (
	task_id BINARY(16) NOT NULL,
	attempt INTEGER NOT NULL,
	limit_name VARCHAR(200) NOT NULL,
	limit_key VARCHAR(200),
	admitted_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	started_at DATETIME(6),
	worker_id BINARY(16),
	worker_pid INTEGER,
	ended_at DATETIME(6),
	CONSTRAINT pk_limit_places PRIMARY KEY (task_id, attempt, limit_name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_limit_places_limit ON limit_places (limit_name, limit_key)
;;
CREATE INDEX ix_limit_places_worker ON limit_places (worker_id, ended_at)
;;
CREATE TABLE login_failures (
	`key` VARCHAR(255) NOT NULL,
	failures INTEGER NOT NULL,
	window_started_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	blocked_until DATETIME(6),
	CONSTRAINT pk_login_failures PRIMARY KEY (`key`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_login_failures_window_started_at ON login_failures (window_started_at)
;;
CREATE TABLE maintenance_lease (
	id INTEGER NOT NULL,
	holder BINARY(16) NOT NULL,
	renewed_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	expires_at DATETIME(6) NOT NULL,
	rescue_after DATETIME(6) NOT NULL,
	CONSTRAINT pk_maintenance_lease PRIMARY KEY (id),
	CONSTRAINT ck_maintenance_lease_single CHECK (id = 1)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_outbox (
	id BIGINT NOT NULL AUTO_INCREMENT,
	consumer SMALLINT NOT NULL,
	task_id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	event VARCHAR(32) NOT NULL,
	generation INTEGER NOT NULL,
	version INTEGER,
	finished_at DATETIME(6),
	task_type VARCHAR(200),
	celery_task_name VARCHAR(200),
	tags LONGTEXT,
	webhook_url LONGTEXT,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	failures INTEGER NOT NULL DEFAULT '0',
	next_try_at DATETIME(6),
	error LONGTEXT,
	set_aside_at DATETIME(6),
	CONSTRAINT pk_task_outbox PRIMARY KEY (id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_task_outbox_ready ON task_outbox (consumer, set_aside_at, id)
;;
CREATE INDEX ix_task_outbox_task ON task_outbox (consumer, task_id, id)
;;
CREATE TABLE periods (
	name VARCHAR(255) NOT NULL,
	fired_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_periods PRIMARY KEY (name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE claimed_turns (
	queue VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	turn DOUBLE NOT NULL,
	CONSTRAINT pk_claimed_turns PRIMARY KEY (queue, priority, turn)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE worker_processes (
	id BINARY(16) NOT NULL,
	name VARCHAR(255) NOT NULL,
	pid INTEGER NOT NULL,
	queues LONGTEXT NOT NULL,
	concurrency INTEGER NOT NULL,
	task_names LONGTEXT,
	processed BIGINT NOT NULL DEFAULT '0',
	memory_bytes BIGINT,
	version LONGTEXT,
	started_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	heartbeat_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	stopped_at DATETIME(6),
	CONSTRAINT pk_worker_processes PRIMARY KEY (id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_worker_processes_heartbeat_at ON worker_processes (heartbeat_at)
;;
CREATE TABLE task_sums (
	celery_task_name VARCHAR(200) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	sent BIGINT NOT NULL DEFAULT '0',
	succeeded BIGINT NOT NULL DEFAULT '0',
	failed BIGINT NOT NULL DEFAULT '0',
	revoked BIGINT NOT NULL DEFAULT '0',
	retried BIGINT NOT NULL DEFAULT '0',
	CONSTRAINT pk_task_sums PRIMARY KEY (celery_task_name, queue)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_sum_durations (
	celery_task_name VARCHAR(200) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	measure VARCHAR(32) NOT NULL,
	bucket SMALLINT NOT NULL,
	number BIGINT NOT NULL,
	seconds DOUBLE NOT NULL,
	CONSTRAINT pk_task_sum_durations PRIMARY KEY (celery_task_name, queue, measure, bucket)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE tasks (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	name LONGTEXT NOT NULL,
	task_type VARCHAR(200) NOT NULL,
	celery_task_name VARCHAR(200) NOT NULL,
	args LONGTEXT NOT NULL,
	kwargs LONGTEXT NOT NULL,
	priority VARCHAR(32) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	tags LONGTEXT NOT NULL DEFAULT ('[]'),
	metadata LONGTEXT NOT NULL DEFAULT ('{}'),
	status VARCHAR(32) NOT NULL DEFAULT 'pending',
	status_reason LONGTEXT,
	progress INTEGER NOT NULL DEFAULT '0',
	progress_detail LONGTEXT,
	result LONGTEXT,
	error_type LONGTEXT,
	error_message LONGTEXT,
	error_fingerprint VARCHAR(32),
	run_at DATETIME(6),
	delay_seconds DOUBLE,
	expires_at DATETIME(6),
	timeout_seconds DOUBLE,
	retry_backoff_seconds DOUBLE,
	max_attempts INTEGER NOT NULL DEFAULT '1',
	max_attempts_named BOOL NOT NULL DEFAULT false,
	rerun_lost BOOL NOT NULL DEFAULT true,
	unique_key VARCHAR(200),
	on_conflict VARCHAR(32),
	active_key VARCHAR(200),
	`limit` VARCHAR(200),
	limit_key VARCHAR(200),
	depends_on LONGTEXT,
	retry_of BINARY(16),
	schedule_id BINARY(16),
	workflow_id BINARY(16),
	user_limited BOOL,
	held VARCHAR(32),
	webhook_url LONGTEXT,
	followers SMALLINT,
	attempt INTEGER NOT NULL DEFAULT '0',
	claim_id BINARY(16),
	worker LONGTEXT,
	worker_id BINARY(16),
	worker_pid INTEGER,
	failures INTEGER NOT NULL DEFAULT '0',
	crashes INTEGER NOT NULL DEFAULT '0',
	celery_id BINARY(16) NOT NULL,
	generation INTEGER NOT NULL DEFAULT '1',
	due_at DATETIME(6),
	turn DOUBLE,
	delete_requested_at DATETIME(6),
	attached_bytes BIGINT NOT NULL DEFAULT '0',
	version INTEGER NOT NULL DEFAULT '1',
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	started_at DATETIME(6),
	finished_at DATETIME(6),
	cancel_requested_at DATETIME(6),
	CONSTRAINT pk_tasks PRIMARY KEY (id),
	CONSTRAINT ck_tasks_status CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'revoked')),
	CONSTRAINT ck_tasks_priority CHECK (priority IN ('low', 'normal', 'high', 'critical')),
	CONSTRAINT ck_tasks_running_has_claim CHECK ((status = 'running') = (claim_id IS NOT NULL)),
	CONSTRAINT ck_tasks_pending_is_due CHECK ((status = 'pending') = (due_at IS NOT NULL)),
	CONSTRAINT ck_tasks_turn CHECK (turn IS NULL OR status = 'pending'),
	CONSTRAINT ck_tasks_terminal_has_finish CHECK ((status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)),
	CONSTRAINT ck_tasks_on_conflict CHECK (on_conflict IN ('reject', 'return', 'replace')),
	CONSTRAINT ck_tasks_active_key CHECK ((
    CASE WHEN unique_key IS NULL OR finished_at IS NOT NULL THEN active_key IS NULL
    ELSE active_key IS NOT NULL AND active_key = unique_key END
) IS TRUE),
	CONSTRAINT ck_tasks_held CHECK (held IS NULL OR status = 'pending' AND held IN ('user', 'limit', 'limit_key', 'name', 'dependency')),
	CONSTRAINT ck_tasks_error_fingerprint CHECK ((status = 'failed') = (error_fingerprint IS NOT NULL)),
	CONSTRAINT ck_tasks_progress CHECK (progress BETWEEN 0 AND 100),
	CONSTRAINT ck_tasks_failures CHECK (max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts),
	CONSTRAINT ck_tasks_crashes CHECK (crashes BETWEEN 0 AND 3),
	CONSTRAINT ck_tasks_counters CHECK (attempt >= 0 AND generation >= 1 AND version >= 1),
	CONSTRAINT fk_tasks_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_tasks_delete_requested ON tasks (delete_requested_at)
;;
CREATE INDEX ix_tasks_ended ON tasks (user_id, finished_at)
;;
CREATE INDEX ix_tasks_error ON tasks (error_fingerprint, id)
;;
CREATE INDEX ix_tasks_expiring ON tasks (status, expires_at)
;;
CREATE INDEX ix_tasks_held ON tasks (`limit`, held, status, queue, priority, turn, id)
;;
CREATE INDEX ix_tasks_held_keys ON tasks (`limit`, held, limit_key, queue, priority, turn, id)
;;
CREATE INDEX ix_tasks_held_users ON tasks (held, user_id, queue, priority, turn, id)
;;
CREATE INDEX ix_tasks_limited ON tasks (`limit`, status, user_id, id)
;;
CREATE INDEX ix_tasks_ready ON tasks (queue, priority, held, turn, id)
;;
CREATE INDEX ix_tasks_running ON tasks (status, worker_id)
;;
CREATE INDEX ix_tasks_schedule ON tasks (schedule_id, id)
;;
CREATE INDEX ix_tasks_unknown ON tasks (held, status, queue, celery_task_name)
;;
CREATE INDEX ix_tasks_unplaced ON tasks (turn, due_at)
;;
CREATE INDEX ix_tasks_user ON tasks (user_id, id DESC)
;;
CREATE INDEX ix_tasks_user_status ON tasks (user_id, status, id DESC)
;;
CREATE UNIQUE INDEX uq_tasks_active_key ON tasks (user_id, active_key)
;;
ALTER TABLE tasks ADD COLUMN odd_id TINYINT AS (CASE WHEN abs(
    CAST(conv(hex(left(id, 6)), 16, 10) AS SIGNED) - timestampdiff(MICROSECOND, '1970-01-01', created_at) DIV 1000
) > 60000 THEN 1 END) STORED, ADD INDEX ix_tasks_odd_ids (odd_id, user_id)
;;
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW
BEGIN
    DECLARE fault VARCHAR(200) CHARACTER SET utf8mb4;
    IF NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id OR NEW.celery_task_name <> OLD.celery_task_name THEN
        SET fault = concat('identity of task ', lower(hex(OLD.id)), ' is fixed');
    ELSEIF NEW.version NOT IN (OLD.version, OLD.version + 1) THEN
        SET fault = concat('version of task ', lower(hex(OLD.id)), ' from ', OLD.version, ' to ', NEW.version);
    ELSEIF NEW.generation = OLD.generation AND (NEW.celery_id <> OLD.celery_id
            OR OLD.cancel_requested_at IS NOT NULL AND NEW.cancel_requested_at IS NULL) THEN
        SET fault = concat('celery_id and a request to cancel task ', lower(hex(OLD.id)), ' last for a generation');
    ELSEIF NEW.status = OLD.status THEN
        IF NEW.attempt <> OLD.attempt OR NEW.generation <> OLD.generation OR NEW.failures <> OLD.failures
            OR NEW.crashes <> OLD.crashes OR NOT (NEW.claim_id <=> OLD.claim_id) THEN
            SET fault = concat('counters of task ', lower(hex(OLD.id)), ' change only with its status');
        ELSEIF OLD.finished_at IS NOT NULL AND (NEW.finished_at <> OLD.finished_at OR NEW.progress <> OLD.progress
            OR NOT (NEW.progress_detail <=> OLD.progress_detail) OR NOT (NEW.result <=> OLD.result) OR NOT (NEW.error_type <=> OLD.error_type)
            OR NOT (NEW.error_message <=> OLD.error_message) OR NEW.args <> OLD.args OR NEW.kwargs <> OLD.kwargs) THEN
            SET fault = concat('task ', lower(hex(OLD.id)), ' has ended');
        END IF;
    ELSEIF OLD.status IN ('pending', 'running') AND (NEW.failures <> OLD.failures OR NEW.crashes <> OLD.crashes)
            AND NOT (OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
            AND NEW.failures >= OLD.failures AND NEW.crashes >= OLD.crashes
            AND NEW.failures + NEW.crashes = OLD.failures + OLD.crashes + 1) THEN
        SET fault = concat('an attempt of task ', lower(hex(OLD.id)), ' counts once, as it fails or is lost');
    ELSEIF OLD.status = 'pending' AND NEW.status = 'running' THEN
        IF NEW.attempt <> OLD.attempt + 1 OR NEW.generation <> OLD.generation THEN
            SET fault = concat('a claim of task ', lower(hex(OLD.id)), ' must raise attempt by one');
        ELSEIF NEW.`limit` IS NOT NULL OR NEW.user_limited THEN
            IF NEW.`limit` IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM limit_places WHERE task_id = NEW.id AND attempt = NEW.attempt AND limit_name = NEW.`limit`
            AND worker_id = NEW.worker_id AND started_at IS NOT NULL AND ended_at IS NULL) THEN
                SET fault = concat('task ', lower(hex(OLD.id)), ' has no place');
            ELSEIF NEW.user_limited AND NOT EXISTS (
            SELECT 1 FROM limit_places WHERE task_id = NEW.id AND attempt = NEW.attempt AND limit_name = '@user'
            AND worker_id = NEW.worker_id AND started_at IS NOT NULL AND ended_at IS NULL) THEN
                SET fault = concat('task ', lower(hex(OLD.id)), ' has no place');
            END IF;
        END IF;
    ELSEIF NEW.attempt <> OLD.attempt THEN
        SET fault = concat('attempt of task ', lower(hex(OLD.id)), ' rises with a claim alone');
    ELSEIF OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending' THEN
        IF NEW.generation <> OLD.generation + 1 OR NEW.celery_id = OLD.celery_id
            OR NEW.failures <> 0 OR NEW.crashes <> 0 THEN
            SET fault = concat('a retry of task ', lower(hex(OLD.id)), ' starts a new generation');
        END IF;
    ELSEIF NEW.generation <> OLD.generation THEN
        SET fault = concat('generation of task ', lower(hex(OLD.id)), ' rises with a retry alone');
    ELSEIF OLD.status <> 'running' AND NOT (OLD.status = 'pending' AND NEW.status = 'revoked') THEN
        SET fault = concat('task ', lower(hex(OLD.id)), ' cannot go from ', OLD.status, ' to ', NEW.status);
    ELSEIF OLD.status = 'running' AND NEW.status IN ('failed', 'pending') AND OLD.cancel_requested_at IS NOT NULL THEN
        SET fault = concat('the cancelled task ', lower(hex(OLD.id)), ' can only succeed or be revoked');
    END IF;
    IF fault IS NOT NULL THEN
        SET fault = concat('tasks_guard: ', fault);
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = fault;
    END IF;
END
;;
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
IF NEW.finished_at IS NOT NULL THEN
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
END IF
;;
CREATE TRIGGER tasks_count_updated AFTER UPDATE ON tasks FOR EACH ROW
BEGIN
    DECLARE attempt_before DATETIME(6);
    IF OLD.finished_at IS NULL THEN
        IF NEW.finished_at IS NOT NULL THEN
            IF NEW.attempt > 1 THEN
                SET attempt_before = (SELECT finished_at FROM task_attempts WHERE task_id = NEW.id AND number = NEW.attempt - 1);
            END IF;
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
        CASE WHEN OLD.status = 'running' AND NEW.generation = 1 THEN timestampdiff(MICROSECOND, greatest(greatest(NEW.created_at, coalesce(NEW.run_at, NEW.created_at)), coalesce(attempt_before, NEW.created_at)), NEW.started_at) / 1e6 END,
        CASE WHEN OLD.status = 'running' THEN timestampdiff(MICROSECOND, NEW.started_at, NEW.finished_at) / 1e6 END
    );
        END IF;
    ELSEIF NOT (NEW.status <=> OLD.status) OR NOT (NEW.task_type <=> OLD.task_type) OR NOT (NEW.celery_task_name <=> OLD.celery_task_name) OR NOT (NEW.priority <=> OLD.priority) OR NOT (NEW.queue <=> OLD.queue) OR NOT (NEW.attached_bytes <=> OLD.attached_bytes) OR NOT (NEW.error_fingerprint <=> OLD.error_fingerprint) THEN
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
        IF NEW.finished_at IS NOT NULL THEN
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
        END IF;
    END IF;
END
;;
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.finished_at IS NOT NULL THEN
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
END IF
;;
CREATE TRIGGER tasks_followed AFTER UPDATE ON tasks FOR EACH ROW
IF NEW.followers <> 0 THEN
    IF OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, NEW.id, NEW.user_id, NEW.status, NEW.generation, NEW.version, NEW.finished_at, NEW.task_type, NEW.celery_task_name, NEW.tags, NEW.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    ELSEIF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, NEW.id, NEW.user_id, 'retried', NEW.generation, NEW.version, NEW.finished_at, NEW.task_type, NEW.celery_task_name, NEW.tags, NEW.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    END IF;
END IF
;;
CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.followers <> 0 THEN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation, version, finished_at, task_type, celery_task_name, tags, webhook_url)
        SELECT consumers.number, OLD.id, OLD.user_id, 'deleted', OLD.generation, OLD.version, OLD.finished_at, OLD.task_type, OLD.celery_task_name, OLD.tags, OLD.webhook_url
        FROM (SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS consumers
        WHERE ((OLD.followers >> consumers.number) & 1) = 1;
END IF
;;
CREATE TABLE api_keys (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	name LONGTEXT NOT NULL,
	prefix LONGTEXT NOT NULL,
	digest VARBINARY(64) NOT NULL,
	scopes LONGTEXT NOT NULL,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	expires_at DATETIME(6),
	last_used_at DATETIME(6),
	revoked_at DATETIME(6),
	CONSTRAINT pk_api_keys PRIMARY KEY (id),
	CONSTRAINT fk_api_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT uq_api_keys_digest UNIQUE (digest)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_api_keys_user_id_id ON api_keys (user_id, id)
;;
CREATE TABLE bulk_deeds (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	deed VARCHAR(32) NOT NULL,
	as_admin BOOL NOT NULL DEFAULT false,
	within_quota BOOL NOT NULL DEFAULT false,
	state VARCHAR(32) NOT NULL DEFAULT 'running',
	matched INTEGER NOT NULL DEFAULT '0',
	done INTEGER NOT NULL DEFAULT '0',
	failed INTEGER NOT NULL DEFAULT '0',
	skipped LONGTEXT NOT NULL DEFAULT ('{}'),
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	finished_at DATETIME(6),
	filter LONGTEXT,
	selected LONGBLOB,
	CONSTRAINT pk_bulk_deeds PRIMARY KEY (id),
	CONSTRAINT ck_bulk_deeds_deed CHECK (deed IN ('cancel', 'retry', 'delete')),
	CONSTRAINT ck_bulk_deeds_state CHECK (state IN ('running', 'finished', 'aborted')),
	CONSTRAINT ck_bulk_deeds_finished_at CHECK ((state = 'running') = (finished_at IS NULL)),
	CONSTRAINT fk_bulk_deeds_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_bulk_deeds_state ON bulk_deeds (state, user_id, created_at)
;;
CREATE INDEX ix_bulk_deeds_user ON bulk_deeds (user_id)
;;
CREATE TABLE claim_holds (
	kind VARCHAR(32) NOT NULL,
	name VARCHAR(200) NOT NULL,
	since DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	reason LONGTEXT,
	held_by BINARY(16),
	CONSTRAINT pk_claim_holds PRIMARY KEY (kind, name),
	CONSTRAINT ck_claim_holds_kind CHECK (kind IN ('queue', 'worker')),
	CONSTRAINT fk_claim_holds_held_by_users FOREIGN KEY(held_by) REFERENCES users (id) ON DELETE SET NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE daily_counts (
	user_id BINARY(16) NOT NULL,
	what VARCHAR(32) NOT NULL,
	day DATE NOT NULL,
	used BIGINT NOT NULL,
	CONSTRAINT pk_daily_counts PRIMARY KEY (user_id, what, day),
	CONSTRAINT fk_daily_counts_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE error_groups (
	fingerprint VARCHAR(32) NOT NULL,
	user_id BINARY(16) NOT NULL,
	celery_task_name VARCHAR(200) NOT NULL,
	error_type LONGTEXT NOT NULL,
	message LONGTEXT,
	first_seen DATETIME(6) NOT NULL,
	last_seen DATETIME(6) NOT NULL,
	count BIGINT NOT NULL,
	state VARCHAR(32) NOT NULL DEFAULT 'open',
	ignored_until DATETIME(6),
	state_set_at DATETIME(6),
	CONSTRAINT pk_error_groups PRIMARY KEY (fingerprint),
	CONSTRAINT ck_error_groups_state CHECK (state IN ('open', 'resolved', 'ignored')),
	CONSTRAINT ck_error_groups_ignored_until CHECK (ignored_until IS NULL OR state = 'ignored'),
	CONSTRAINT fk_error_groups_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_error_groups_seen ON error_groups (last_seen DESC, fingerprint DESC)
;;
CREATE INDEX ix_error_groups_user ON error_groups (user_id, last_seen DESC, fingerprint DESC)
;;
CREATE TABLE login_sessions (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	expires_at DATETIME(6) NOT NULL,
	revoked_at DATETIME(6),
	revoked_why LONGTEXT,
	address VARCHAR(64),
	user_agent VARCHAR(256),
	CONSTRAINT pk_login_sessions PRIMARY KEY (id),
	CONSTRAINT fk_login_sessions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_login_sessions_expires_at ON login_sessions (expires_at)
;;
CREATE INDEX ix_login_sessions_user_id ON login_sessions (user_id)
;;
CREATE TABLE login_blocks (
	user_id BINARY(16) NOT NULL,
	block VARBINARY(64) NOT NULL,
	signed_in_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_login_blocks PRIMARY KEY (user_id, block),
	CONSTRAINT fk_login_blocks_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_login_blocks_signed_in_at ON login_blocks (signed_in_at)
;;
CREATE TABLE schedules (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	name LONGTEXT NOT NULL,
	task LONGTEXT NOT NULL,
	celery_task_name VARCHAR(200) NOT NULL,
	cron LONGTEXT,
	every_seconds DOUBLE,
	timezone VARCHAR(200) NOT NULL,
	start_at DATETIME(6),
	end_at DATETIME(6),
	jitter_seconds DOUBLE NOT NULL DEFAULT '0',
	overlap VARCHAR(32) NOT NULL DEFAULT 'skip',
	catch_up VARCHAR(32) NOT NULL DEFAULT 'latest',
	catch_up_seconds DOUBLE NOT NULL DEFAULT '3600',
	paused BOOL NOT NULL DEFAULT false,
	pause_reason LONGTEXT,
	resumed_at DATETIME(6),
	tags LONGTEXT NOT NULL DEFAULT ('[]'),
	metadata LONGTEXT NOT NULL DEFAULT ('{}'),
	done_until DATETIME(6) NOT NULL,
	next_run_at DATETIME(6),
	due_at DATETIME(6),
	held_for DATETIME(6),
	tzdata VARCHAR(32) NOT NULL,
	last_run_at DATETIME(6),
	last_task_id BINARY(16),
	runs BIGINT NOT NULL DEFAULT '0',
	skipped BIGINT NOT NULL DEFAULT '0',
	skip_told_at DATETIME(6),
	version INTEGER NOT NULL DEFAULT '1',
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_schedules PRIMARY KEY (id),
	CONSTRAINT ck_schedules_timing CHECK ((cron IS NULL) <> (every_seconds IS NULL)),
	CONSTRAINT ck_schedules_overlap CHECK (overlap IN ('skip', 'allow', 'buffer_one', 'cancel_running')),
	CONSTRAINT ck_schedules_catch_up CHECK (catch_up IN ('none', 'latest', 'all')),
	CONSTRAINT fk_schedules_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_schedules_due ON schedules (due_at)
;;
CREATE INDEX ix_schedules_held ON schedules (held_for)
;;
CREATE INDEX ix_schedules_user ON schedules (user_id, id)
;;
CREATE TABLE second_factors (
	user_id BINARY(16) NOT NULL,
	secret LONGBLOB NOT NULL,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	confirmed_at DATETIME(6),
	last_step BIGINT,
	CONSTRAINT pk_second_factors PRIMARY KEY (user_id),
	CONSTRAINT fk_second_factors_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE user_turns (
	user_id BINARY(16) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	priority VARCHAR(32) NOT NULL,
	last DOUBLE NOT NULL,
	clock DOUBLE NOT NULL,
	CONSTRAINT pk_user_turns PRIMARY KEY (user_id, queue, priority),
	CONSTRAINT fk_user_turns_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE webhook_endpoints (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	url LONGTEXT NOT NULL,
	events LONGTEXT NOT NULL,
	filter_task_type VARCHAR(200),
	filter_tag VARCHAR(200),
	filter_celery_task_name VARCHAR(200),
	enabled BOOL NOT NULL DEFAULT true,
	disabled_at DATETIME(6),
	disabled_reason VARCHAR(32),
	description LONGTEXT,
	secret LONGBLOB NOT NULL,
	old_secret LONGBLOB,
	old_secret_until DATETIME(6),
	failing_since DATETIME(6),
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
	CONSTRAINT ck_webhook_endpoints_disabled_reason CHECK (disabled_reason IN ('gone', 'failing')),
	CONSTRAINT fk_webhook_endpoints_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_webhook_endpoints_user ON webhook_endpoints (user_id, id)
;;
CREATE TABLE webhook_deliveries (
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	endpoint_id BINARY(16),
	task_id BINARY(16),
	schedule_id BINARY(16),
	event_id BINARY(16) NOT NULL,
	type VARCHAR(200) NOT NULL,
	event_at DATETIME(6) NOT NULL,
	generation INTEGER,
	url LONGTEXT,
	body LONGBLOB,
	state VARCHAR(32) NOT NULL DEFAULT 'pending',
	attempts LONGTEXT NOT NULL,
	tries INTEGER NOT NULL DEFAULT '0',
	lane BINARY(16),
	next_attempt_at DATETIME(6),
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	bytes BIGINT NOT NULL DEFAULT '1024',
	CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
	CONSTRAINT ck_webhook_deliveries_state CHECK (state IN ('pending', 'delivered', 'failed', 'dropped')),
	CONSTRAINT ck_webhook_deliveries_pending_is_due CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
	CONSTRAINT ck_webhook_deliveries_pending_has_lane CHECK ((state = 'pending') = (lane IS NOT NULL)),
	CONSTRAINT fk_webhook_deliveries_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
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
	id BINARY(16) NOT NULL,
	user_id BINARY(16) NOT NULL,
	name LONGTEXT NOT NULL,
	on_failure VARCHAR(32) NOT NULL DEFAULT 'cancel',
	status VARCHAR(32),
	generation INTEGER NOT NULL DEFAULT '1',
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	finished_at DATETIME(6),
	CONSTRAINT pk_workflows PRIMARY KEY (id),
	CONSTRAINT ck_workflows_on_failure CHECK (on_failure IN ('cancel', 'continue')),
	CONSTRAINT ck_workflows_status CHECK (status IS NULL OR status IN ('succeeded', 'failed', 'revoked')),
	CONSTRAINT ck_workflows_finished CHECK ((status IS NULL) = (finished_at IS NULL)),
	CONSTRAINT fk_workflows_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_workflows_user ON workflows (user_id, id)
;;
CREATE TABLE task_attempts (
	task_id BINARY(16) NOT NULL,
	number INTEGER NOT NULL,
	worker LONGTEXT,
	started_at DATETIME(6) NOT NULL,
	finished_at DATETIME(6) NOT NULL,
	outcome VARCHAR(32) NOT NULL,
	error_type LONGTEXT,
	error_message LONGTEXT,
	traceback LONGTEXT,
	CONSTRAINT pk_task_attempts PRIMARY KEY (task_id, number),
	CONSTRAINT ck_task_attempts_outcome CHECK (outcome IN ('running', 'succeeded', 'failed', 'retried', 'revoked', 'worker_lost', 'handed_back')),
	CONSTRAINT fk_task_attempts_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts FOR EACH ROW
IF NEW.outcome IN ('retried', 'worker_lost') THEN
    INSERT INTO task_count_changes (user_id, status, task_type, celery_task_name, priority, queue, number, bytes)
    SELECT user_id, status, task_type, celery_task_name, priority, queue, 0, 0 FROM tasks WHERE id = NEW.task_id AND due_at IS NOT NULL;
END IF
;;
CREATE TABLE bulk_batches (
	deed_id BINARY(16) NOT NULL,
	number INTEGER NOT NULL,
	task_ids LONGBLOB NOT NULL,
	CONSTRAINT pk_bulk_batches PRIMARY KEY (deed_id, number),
	CONSTRAINT fk_bulk_batches_deed_id_bulk_deeds FOREIGN KEY(deed_id) REFERENCES bulk_deeds (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE idempotency_keys (
	user_id BINARY(16) NOT NULL,
	`key` VARCHAR(255) NOT NULL,
	fingerprint VARBINARY(64) NOT NULL,
	task_id BINARY(16),
	task_ids LONGTEXT,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, `key`),
	CONSTRAINT fk_idempotency_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_idempotency_keys_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)
;;
CREATE INDEX ix_idempotency_keys_task_id ON idempotency_keys (task_id)
;;
CREATE TABLE refresh_tokens (
	digest VARBINARY(64) NOT NULL,
	session_id BINARY(16) NOT NULL,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	expires_at DATETIME(6) NOT NULL,
	used_at DATETIME(6),
	CONSTRAINT pk_refresh_tokens PRIMARY KEY (digest),
	CONSTRAINT fk_refresh_tokens_session_id_login_sessions FOREIGN KEY(session_id) REFERENCES login_sessions (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_refresh_tokens_session_id ON refresh_tokens (session_id)
;;
CREATE TABLE schedule_runs (
	schedule_id BINARY(16) NOT NULL,
	scheduled_for DATETIME(6) NOT NULL,
	kind SMALLINT NOT NULL,
	task_id BINARY(16),
	skipped VARCHAR(32),
	count INTEGER,
	until DATETIME(6),
	by_backfill BOOL NOT NULL DEFAULT false,
	is_open BOOL NOT NULL DEFAULT false,
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	CONSTRAINT pk_schedule_runs PRIMARY KEY (schedule_id, scheduled_for, kind),
	CONSTRAINT ck_schedule_runs_task CHECK ((task_id IS NULL) <> (skipped IS NULL)),
	CONSTRAINT ck_schedule_runs_kind CHECK (kind BETWEEN 0 AND 2),
	CONSTRAINT fk_schedule_runs_schedule_id_schedules FOREIGN KEY(schedule_id) REFERENCES schedules (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_schedule_runs_created ON schedule_runs (created_at)
;;
CREATE INDEX ix_schedule_runs_open ON schedule_runs (schedule_id, is_open)
;;
CREATE INDEX ix_schedule_runs_task ON schedule_runs (task_id)
;;
CREATE TABLE recovery_codes (
	user_id BINARY(16) NOT NULL,
	digest VARBINARY(64) NOT NULL,
	CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, digest),
	CONSTRAINT fk_recovery_codes_user_id_second_factors FOREIGN KEY(user_id) REFERENCES second_factors (user_id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE files (
	id BINARY(16) NOT NULL,
	user_id BINARY(16),
	task_id BINARY(16),
	attempt INTEGER,
	name VARCHAR(200) NOT NULL,
	content_type VARCHAR(200) NOT NULL,
	size BIGINT NOT NULL DEFAULT '0',
	sha256 VARCHAR(200),
	state VARCHAR(32) NOT NULL DEFAULT 'writing',
	created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	touched_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	expires_at DATETIME(6),
	CONSTRAINT pk_files PRIMARY KEY (id),
	CONSTRAINT ck_files_state CHECK (state IN ('writing', 'held', 'partial', 'kept', 'dropped')),
	CONSTRAINT ck_files_sha256 CHECK (sha256 IS NOT NULL OR state IN ('writing', 'dropped')),
	CONSTRAINT fk_files_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
	CONSTRAINT fk_files_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
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
	child_id BINARY(16) NOT NULL,
	parent_id BINARY(16) NOT NULL,
	goes_on BOOL NOT NULL,
	is_open BOOL NOT NULL,
	CONSTRAINT pk_task_dependencies PRIMARY KEY (child_id, parent_id),
	CONSTRAINT fk_task_dependencies_child_id_tasks FOREIGN KEY(child_id) REFERENCES tasks (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_task_dependencies_parent ON task_dependencies (parent_id, is_open)
;;
CREATE TABLE task_logs (
	task_id BINARY(16) NOT NULL,
	seq BIGINT NOT NULL,
	attempt INTEGER NOT NULL,
	at DATETIME(6) NOT NULL,
	level SMALLINT NOT NULL,
	logger LONGTEXT NOT NULL,
	message LONGTEXT NOT NULL,
	fields LONGTEXT NOT NULL,
	CONSTRAINT pk_task_logs PRIMARY KEY (task_id, seq),
	CONSTRAINT fk_task_logs_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_output (
	task_id BINARY(16) NOT NULL,
	seq BIGINT NOT NULL,
	stream VARCHAR(200) NOT NULL,
	attempt INTEGER NOT NULL,
	at DATETIME(6) NOT NULL,
	chunk LONGTEXT NOT NULL,
	bytes INTEGER NOT NULL,
	CONSTRAINT pk_task_output PRIMARY KEY (task_id, seq),
	CONSTRAINT fk_task_output_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE TABLE task_steps (
	task_id BINARY(16) NOT NULL,
	name VARCHAR(200) NOT NULL,
	seq BIGINT NOT NULL,
	user_id BINARY(16) NOT NULL,
	attempt INTEGER NOT NULL,
	started_at DATETIME(6) NOT NULL,
	finished_at DATETIME(6) NOT NULL,
	bytes INTEGER NOT NULL,
	result LONGTEXT,
	CONSTRAINT pk_task_steps PRIMARY KEY (task_id, name),
	CONSTRAINT fk_task_steps_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_task_steps_user ON task_steps (user_id, bytes)
;;
CREATE TABLE workflow_nodes (
	workflow_id BINARY(16) NOT NULL,
	position INTEGER NOT NULL,
	ref VARCHAR(200) NOT NULL,
	parents LONGTEXT NOT NULL,
	task_id BINARY(16),
	status VARCHAR(32) NOT NULL DEFAULT 'pending',
	version INTEGER NOT NULL DEFAULT '1',
	CONSTRAINT pk_workflow_nodes PRIMARY KEY (workflow_id, position),
	CONSTRAINT uq_workflow_nodes_ref UNIQUE (workflow_id, ref),
	CONSTRAINT fk_workflow_nodes_workflow_id_workflows FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_workflow_nodes_status ON workflow_nodes (workflow_id, status)
;;
CREATE INDEX ix_workflow_nodes_task ON workflow_nodes (task_id)
;;
CREATE TABLE file_uses (
	file_id BINARY(16) NOT NULL,
	used_by BINARY(16) NOT NULL,
	CONSTRAINT pk_file_uses PRIMARY KEY (file_id, used_by),
	CONSTRAINT fk_file_uses_file_id_files FOREIGN KEY(file_id) REFERENCES files (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin
;;
CREATE INDEX ix_file_uses_by ON file_uses (used_by)
