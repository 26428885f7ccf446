"""the first schema"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

GUARD_FUNCTION = """
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id OR NEW.celery_task_name <> OLD.celery_task_name THEN
        RAISE EXCEPTION 'tasks_guard: identity of task % is fixed', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version NOT IN (OLD.version, OLD.version + 1) THEN
        RAISE EXCEPTION 'tasks_guard: version of task % from % to %', OLD.id, OLD.version, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status = OLD.status THEN
        IF NEW.attempt <> OLD.attempt OR NEW.generation <> OLD.generation OR NEW.failures <> OLD.failures
            OR NEW.crashes <> OLD.crashes OR NEW.claim_id IS DISTINCT FROM OLD.claim_id THEN
            RAISE EXCEPTION 'tasks_guard: counters of task % change only with its status', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.finished_at IS NOT NULL AND (
            NEW.finished_at <> OLD.finished_at OR NEW.progress <> OLD.progress
            OR NEW.result IS DISTINCT FROM OLD.result OR NEW.error_type IS DISTINCT FROM OLD.error_type
            OR NEW.args <> OLD.args OR NEW.kwargs <> OLD.kwargs
        ) THEN
            RAISE EXCEPTION 'tasks_guard: task % has ended', OLD.id USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.status = 'pending' AND NEW.status = 'running' THEN
        IF NEW.attempt <> OLD.attempt + 1 OR NEW.generation <> OLD.generation THEN
            RAISE EXCEPTION 'tasks_guard: a claim of task % must raise attempt by one', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.attempt <> OLD.attempt THEN
        RAISE EXCEPTION 'tasks_guard: attempt of task % rises with a claim alone', OLD.id
            USING ERRCODE = 'check_violation';
    ELSIF OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending' THEN
        IF NEW.generation <> OLD.generation + 1 OR NEW.celery_id = OLD.celery_id
            OR NEW.failures <> 0 OR NEW.crashes <> 0 THEN
            RAISE EXCEPTION 'tasks_guard: a retry of task % starts a new generation', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.generation <> OLD.generation THEN
        RAISE EXCEPTION 'tasks_guard: generation of task % rises with a retry alone', OLD.id
            USING ERRCODE = 'check_violation';
    ELSIF NOT (
        OLD.status = 'running'
        OR (OLD.status = 'pending' AND NEW.status = 'revoked')
    ) THEN
        RAISE EXCEPTION 'tasks_guard: task % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    ELSIF OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
        AND OLD.cancel_requested_at IS NOT NULL THEN
        RAISE EXCEPTION 'tasks_guard: the cancelled task % can only succeed or be revoked', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
"""

GUARD_TRIGGER = """
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard()
"""


def upgrade() -> None:
    op.create_table(
        "keeper_lease",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column(
            "renewed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rescue_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("broker_epoch", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_keeper_lease_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keeper_lease")),
    )
    op.create_table(
        "login_failures",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column(
            "window_started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_failures")),
    )
    op.create_index(op.f("ix_login_failures_window_started_at"), "login_failures", ["window_started_at"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_normalized", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_normalized", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="user", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("role IN ('user', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email_normalized", name=op.f("uq_users_email_normalized")),
        sa.UniqueConstraint("username_normalized", name=op.f("uq_users_username_normalized")),
    )
    op.create_table(
        "worker_processes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_processes")),
    )
    op.create_index(op.f("ix_worker_processes_heartbeat_at"), "worker_processes", ["heartbeat_at"], unique=False)
    op.create_table(
        "login_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_login_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_sessions")),
    )
    op.create_index(op.f("ix_login_sessions_expires_at"), "login_sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_login_sessions_user_id"), "login_sessions", ["user_id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("celery_task_name", sa.Text(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("kwargs", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("metadata", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("progress", sa.Integer(), server_default="0", nullable=False),
        sa.Column("progress_detail", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delay_seconds", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timeout_seconds", sa.Float(), nullable=True),
        sa.Column("retry_backoff_seconds", sa.Float(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("max_attempts_named", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("rerun_lost", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("worker_pid", sa.Integer(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("celery_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("dispatch_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delete_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'pending') = (dispatch_at IS NOT NULL)", name=op.f("ck_tasks_pending_has_dispatch")
        ),
        sa.CheckConstraint("(status = 'running') = (claim_id IS NOT NULL)", name=op.f("ck_tasks_running_has_claim")),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)",
            name=op.f("ck_tasks_terminal_has_finish"),
        ),
        sa.CheckConstraint("priority IN ('low', 'normal', 'high', 'critical')", name=op.f("ck_tasks_priority")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'succeeded', 'failed', 'revoked')", name=op.f("ck_tasks_status")
        ),
        sa.CheckConstraint("attempt >= 0 AND generation >= 1 AND version >= 1", name=op.f("ck_tasks_counters")),
        sa.CheckConstraint("crashes BETWEEN 0 AND 3", name=op.f("ck_tasks_crashes")),
        sa.CheckConstraint("max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts", name=op.f("ck_tasks_failures")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_tasks_progress")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tasks_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index(
        "ix_tasks_delete_requested",
        "tasks",
        ["id"],
        unique=False,
        postgresql_where=sa.text("delete_requested_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_dispatched",
        "tasks",
        ["queue", "priority", "dispatched_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND dispatched_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_due", "tasks", ["dispatch_at"], unique=False, postgresql_where=sa.text("status = 'pending'")
    )
    op.create_index(
        "ix_tasks_expiring",
        "tasks",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND expires_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_finished",
        "tasks",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_running",
        "tasks",
        ["worker_id"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_tasks_tags", "tasks", ["tags"], unique=False, postgresql_using="gin")
    op.create_index("ix_tasks_user", "tasks", ["user_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_tasks_user_status", "tasks", ["user_id", "status", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["login_sessions.id"],
            name=op.f("fk_refresh_tokens_session_id_login_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_refresh_tokens")),
    )
    op.create_index(op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"], unique=False)
    op.create_table(
        "task_attempts",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('running', 'succeeded', 'failed', 'retried', 'revoked', 'worker_lost', 'handed_back')",
            name=op.f("ck_task_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_task_attempts_task_id_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", "number", name=op.f("pk_task_attempts")),
    )
    op.execute(GUARD_FUNCTION)
    op.execute(GUARD_TRIGGER)


def downgrade() -> None:
    op.drop_table("task_attempts")
    op.drop_table("refresh_tokens")
    op.drop_table("tasks")
    op.drop_table("login_sessions")
    op.drop_table("worker_processes")
    op.drop_table("users")
    op.drop_table("login_failures")
    op.drop_table("keeper_lease")
    op.execute("DROP FUNCTION tasks_guard()")
