"""the first schema

The text of indexes by expression and of triggers stands in `app/db/postgresql/schema/`, for models and migrations
alike. A later change of a trigger is a migration of its own: `CREATE OR REPLACE FUNCTION`.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from app.db.clock import NOW
from app.db.indexes import ODD_ID, SHORT_LIVED_ROWS, TASK_KIND, descending
from app.db.postgresql.schema import triggers
from app.db.postgresql.schema.types import NO_TEXTS, JsonObject, TextList, subset_check

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The first with uuid_extract_timestamp().
OLDEST = (17,)
KIND = ("task_type", "celery_task_name", "priority", "queue")
STATUSES = "'pending', 'running', 'succeeded', 'failed', 'revoked'"
OUTCOMES = "'running', 'succeeded', 'failed', 'retried', 'revoked', 'worker_lost', 'handed_back'"
SCOPES = ["tasks:read", "tasks:write", "admin"]


def upgrade() -> None:
    _check_server()
    _create_accounts()
    _create_tasks()
    _create_counts()
    _create_operations()
    _create_audit()
    for statements in triggers.FIRST.values():
        for statement in statements:
            op.execute(statement)


def downgrade() -> None:
    for table in (
        *("audit_events", "maintenance_lease", "periods", "worker_processes", "idempotency_keys"),
        *("task_count_changes", "task_counts", "task_totals", "task_attempts", "tasks"),
        *("api_keys", "refresh_tokens", "login_sessions", "login_failures", "users"),
    ):
        op.drop_table(table)
        for statement in triggers.DROP.get(table, ()):
            op.execute(statement)


def _check_server() -> None:
    """Raises CommandError for a server that is too old: one line instead of a missing function's error."""
    if op.get_context().as_sql:
        return
    version = op.get_bind().dialect.server_version_info or ()
    if version < OLDEST:
        raise CommandError(f"PostgreSQL {OLDEST[0]} or newer is needed, not {'.'.join(map(str, version))}")


def _text(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), **({"nullable": False} | options))


def _number(name: str, default: int | None = None, **options: Any) -> sa.Column[Any]:
    known = {} if default is None else {"server_default": str(default)}
    return sa.Column(name, sa.Integer(), **({"nullable": False} | known | options))


def _flag(name: str, *, default: bool) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), server_default=str(default).lower(), nullable=False)


def _time(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **({"nullable": False} | options))


def _now(name: str) -> sa.Column[Any]:
    return _time(name, server_default=NOW)


def _id(name: str = "id", *references: sa.ForeignKey, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid(), *references, **({"nullable": False} | options))


def _of_user(**options: Any) -> sa.Column[Any]:
    return _id("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), **options)


def _create_accounts() -> None:
    op.create_table(
        "users",
        _id(primary_key=True),
        _text("username"),
        _text("username_normalized", unique=True),
        _text("email"),
        _text("email_normalized", unique=True),
        _text("password_hash"),
        _text("role", server_default="user"),
        _flag("is_active", default=True),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint("role IN ('user', 'admin')", name="role"),
    )
    op.create_table("login_failures", _text("key", primary_key=True), _number("failures"), _now("window_started_at"))
    op.create_index(None, "login_failures", ["window_started_at"])
    op.create_table(
        "login_sessions",
        _id(primary_key=True),
        _of_user(),
        _now("created_at"),
        _time("expires_at"),
        _time("revoked_at", nullable=True),
        _text("revoked_why", nullable=True),
    )
    op.create_index(None, "login_sessions", ["user_id"])
    op.create_index(None, "login_sessions", ["expires_at"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
        _id("session_id", sa.ForeignKey("login_sessions.id", ondelete="CASCADE")),
        _now("created_at"),
        _time("expires_at"),
        _time("used_at", nullable=True),
    )
    op.create_index(None, "refresh_tokens", ["session_id"])
    op.create_table(
        "api_keys",
        _id(primary_key=True),
        _of_user(),
        _text("name"),
        _text("prefix"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("scopes", TextList, nullable=False),
        _now("created_at"),
        _time("expires_at", nullable=True),
        _time("last_used_at", nullable=True),
        _time("revoked_at", nullable=True),
        sa.CheckConstraint(subset_check("scopes", SCOPES), name="scopes"),
    )
    op.create_index("ix_api_keys_user_id_id", "api_keys", ["user_id", "id"])


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        _id(primary_key=True),
        _of_user(),
        *(_text(name) for name in ("name", "task_type", "celery_task_name", "args", "kwargs", "priority", "queue")),
        sa.Column("tags", TextList, server_default=NO_TEXTS, nullable=False),
        sa.Column("metadata", JsonObject, server_default="{}", nullable=False),
        _text("status", server_default="pending"),
        _text("status_reason", nullable=True),
        _number("progress", 0),
        *(_text(name, nullable=True) for name in ("progress_detail", "result", "error_type", "error_message")),
        _time("run_at", nullable=True),
        sa.Column("delay_seconds", sa.Float()),
        _time("expires_at", nullable=True),
        sa.Column("timeout_seconds", sa.Float()),
        sa.Column("retry_backoff_seconds", sa.Float()),
        _number("max_attempts", 1),
        _flag("max_attempts_named", default=False),
        _flag("rerun_lost", default=True),
        _number("attempt", 0),
        _id("claim_id", nullable=True),
        _text("worker", nullable=True),
        _id("worker_id", nullable=True),
        _number("worker_pid", nullable=True),
        _number("failures", 0),
        _number("crashes", 0),
        _id("celery_id"),
        _number("generation", 1),
        *(_time(name, nullable=True) for name in ("dispatch_at", "dispatched_at", "delete_requested_at")),
        _number("version", 1),
        _now("created_at"),
        _now("updated_at"),
        *(_time(name, nullable=True) for name in ("started_at", "finished_at", "cancel_requested_at")),
        sa.CheckConstraint(f"status IN ({STATUSES})", name="status"),
        sa.CheckConstraint("priority IN ('low', 'normal', 'high', 'critical')", name="priority"),
        sa.CheckConstraint("(status = 'running') = (claim_id IS NOT NULL)", name="running_has_claim"),
        sa.CheckConstraint("(status = 'pending') = (dispatch_at IS NOT NULL)", name="pending_has_dispatch"),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)", name="terminal_has_finish"
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        sa.CheckConstraint("max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts", name="failures"),
        sa.CheckConstraint("crashes BETWEEN 0 AND 3", name="crashes"),
        sa.CheckConstraint("attempt >= 0 AND generation >= 1 AND version >= 1", name="counters"),
    )
    _create_task_indexes()
    op.create_table(
        "task_attempts",
        _id("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        _number("number", primary_key=True),
        _text("worker", nullable=True),
        _time("started_at"),
        _time("finished_at"),
        _text("outcome"),
        *(_text(name, nullable=True) for name in ("error_type", "error_message", "traceback")),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="outcome"),
    )
    op.create_table(
        "idempotency_keys",
        _of_user(primary_key=True),
        _text("key", primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        _id("task_id", sa.ForeignKey("tasks.id", ondelete="SET NULL"), nullable=True),
        _now("created_at"),
    )
    op.create_index(None, "idempotency_keys", ["task_id"])
    op.create_index(None, "idempotency_keys", ["created_at"])


def _create_task_indexes() -> None:
    newest = "id DESC"
    _task_index("user", "user_id", newest)
    _task_index("user_status", "user_id", "status", newest)
    _task_index("kind", "user_id", TASK_KIND, newest, where="finished_at IS NOT NULL")
    _task_index("odd_ids", "user_id", where=ODD_ID)
    _task_index("tags", "tags", where="tags <> '{}'", postgresql_using="gin")
    _task_index("due", "dispatch_at", where="status = 'pending'")
    out = "status = 'pending' AND dispatched_at IS NOT NULL"
    _task_index("dispatched", "queue", "priority", "dispatched_at", where=out)
    _task_index("expiring", "expires_at", where="status = 'pending' AND expires_at IS NOT NULL")
    _task_index("running", "worker_id", where="status = 'running'")
    _task_index("finished", "finished_at", where="finished_at IS NOT NULL")
    _task_index("delete_requested", "id", where="delete_requested_at IS NOT NULL")


def _task_index(name: str, *columns: str, where: str | None = None, **options: Any) -> None:
    condition = None if where is None else sa.text(where)
    parts = [sa.text(column) for column in columns]
    op.create_index(f"ix_tasks_{name}", "tasks", parts, postgresql_where=condition, **options)


def _create_counts() -> None:
    def key(*names: str, primary_key: bool) -> list[sa.Column[Any]]:
        return [(_id if name == "user_id" else _text)(name, primary_key=primary_key) for name in names]

    def number() -> sa.Column[Any]:
        return sa.Column("number", sa.BigInteger(), nullable=False)

    op.create_table("task_totals", *key("user_id", "status", primary_key=True), number())
    op.create_table("task_counts", *key("user_id", *KIND, "status", primary_key=True), number())
    changed = key("user_id", "status", *KIND, primary_key=False)
    op.create_table("task_count_changes", *changed, _number("number"), **SHORT_LIVED_ROWS)


def _create_operations() -> None:
    op.create_table(
        "worker_processes",
        _id(primary_key=True),
        _text("name"),
        _number("pid"),
        sa.Column("queues", TextList, nullable=False),
        _number("concurrency"),
        _now("started_at"),
        _now("heartbeat_at"),
        _time("stopped_at", nullable=True),
    )
    op.create_index(None, "worker_processes", ["heartbeat_at"])
    op.create_table("periods", _text("name", primary_key=True), _now("fired_at"))
    op.create_table(
        "maintenance_lease",
        _number("id", primary_key=True, autoincrement=False),
        _id("holder"),
        _now("renewed_at"),
        _time("expires_at"),
        _time("rescue_after"),
        _text("broker_epoch", nullable=True),
        sa.CheckConstraint("id = 1", name="single"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit_events",
        _id(primary_key=True),
        _now("at"),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        _id("actor_id", nullable=True),
        sa.Column("actor_name", sa.String(128)),
        sa.Column("object_kind", sa.String(32), nullable=False),
        sa.Column("object_id", sa.String(128), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("request_id", sa.String(64)),
        _text("detail", server_default="{}"),
        sa.CheckConstraint("octet_length(detail) <= 4096", name="detail"),
    )
    newest = [descending("at"), descending("id")]
    op.create_index("ix_audit_events_at", "audit_events", newest)
    for name, column in (("event", "event"), ("actor", "actor_id"), ("object", "object_id")):
        op.create_index(f"ix_audit_events_{name}", "audit_events", [column, *newest])
