"""Columns of lists, for each kind of object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: the field, its title, and how its values are shown (`table.KINDS`).

    `rank`: the highest is left out first where a table is too wide. `least`: it may be cut to so many characters.
    `only_if_any`: it is left out where no row has a value.
    """

    path: str
    title: str
    kind: str = "text"
    rank: int = 0
    least: int = 0
    only_if_any: bool = False


def value_at(row: Row, path: str) -> Any:
    """Return the value of a field; `error.type` is one in another. None where there is none on the way."""
    found: Any = row
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


_ID = Column("id", "ID")
_NAME = Column("name", "NAME", least=12)
_CREATED = Column("created_at", "AGE", "ago", rank=2)

TASKS = (
    _ID,
    Column("status", "STATUS", "status"),
    Column("progress", "DONE", "percent", rank=4),
    Column("name", "NAME", least=20),
    _CREATED,
    Column("task_type", "TYPE", rank=5, least=12),
    Column("priority", "PRIORITY", rank=7),
    Column("queue", "QUEUE", rank=8),
    Column("worker", "WORKER", rank=9, least=10, only_if_any=True),
    Column("waiting_for.reason", "WAITS FOR", rank=3, only_if_any=True),
    Column("error.message", "ERROR", rank=6, least=20, only_if_any=True),
    Column("tags", "TAGS", rank=10, least=10, only_if_any=True),
)
FILES = (_ID, _NAME, Column("size", "SIZE", "bytes"), _CREATED, Column("content_type", "TYPE", rank=3, least=10))
ARTIFACTS = (_ID, _NAME, Column("size", "SIZE", "bytes"), Column("attempt", "ATTEMPT", "number", rank=4), _CREATED)
SCHEDULES = (
    _ID,
    _NAME,
    Column("cron", "CRON", only_if_any=True, rank=3),
    Column("every_seconds", "EVERY", "seconds", only_if_any=True, rank=3),
    Column("timezone", "ZONE", rank=6),
    Column("paused", "PAUSED", "yes", rank=1, only_if_any=True),
    Column("next_run_at", "NEXT", "ago", rank=2),
    Column("last_run_at", "LAST", "ago", rank=5),
    Column("runs", "RUNS", "number", rank=7),
)
WORKFLOWS = (
    _ID,
    Column("status", "STATUS", "status"),
    _NAME,
    _CREATED,
    Column("counts.succeeded", "SUCCEEDED", "number", rank=4),
    Column("counts.failed", "FAILED", "number", rank=3),
    Column("counts.running", "RUNNING", "number", rank=5),
    Column("counts.pending", "PENDING", "number", rank=6),
)
QUEUES = (
    Column("name", "QUEUE", least=12),
    Column("pending", "PENDING", "number"),
    Column("running", "RUNNING", "number"),
    Column("ready", "READY", "number", rank=3),
    Column("oldest_ready_seconds", "OLDEST", "seconds", rank=5),
    Column("started_per_minute", "PER MINUTE", "number", rank=6),
    Column("workers", "WORKERS", "number", rank=4),
    Column("slots", "SLOTS", "number", rank=4),
    Column("paused", "PAUSED", "yes", rank=1, only_if_any=True),
    Column("paused_reason", "REASON", rank=2, least=10, only_if_any=True),
)
WORKERS = (
    Column("name", "WORKER", least=16),
    Column("state", "STATE", "status"),
    Column("running", "RUNNING", "count"),
    Column("concurrency", "SLOTS", "number"),
    Column("queues", "QUEUES", rank=3, least=12),
    Column("processed", "PROCESSED", "number", rank=4),
    Column("memory_bytes", "MEMORY", "bytes", rank=5),
    Column("started_at", "AGE", "ago", rank=2),
    Column("version", "VERSION", rank=6),
)
LIMITS = (
    Column("name", "LIMIT", least=12),
    Column("running", "RUNNING", "number"),
    Column("concurrency", "AT ONCE", "number"),
    Column("concurrency_per_key", "PER KEY", "number", rank=3),
    Column("rate", "RATE", rank=2, only_if_any=True),
    Column("rate_per_key", "RATE PER KEY", rank=4, only_if_any=True),
    Column("on_excess", "ON EXCESS", rank=1),
)
WEBHOOKS = (
    _ID,
    Column("url", "URL", least=20),
    Column("enabled", "ENABLED", "yes"),
    Column("events", "EVENTS", rank=3, least=15),
    Column("description", "DESCRIPTION", rank=4, least=10, only_if_any=True),
    Column("disabled_reason", "DISABLED FOR", rank=2, only_if_any=True),
)
ERRORS = (
    Column("fingerprint", "FINGERPRINT"),
    Column("count", "TASKS", "number"),
    Column("state", "STATE", "status"),
    Column("last_seen", "LAST", "ago"),
    Column("error_type", "ERROR", least=12),
    Column("message", "MESSAGE", rank=2, least=12),
    Column("celery_task_name", "TASK", rank=3, least=20),
)
TYPES = (
    Column("celery_task_name", "TASK", least=20),
    Column("summary", "WHAT IT DOES", rank=1, least=20),
    Column("default_queue", "QUEUE", rank=3),
)
KEYS = (
    _ID,
    _NAME,
    Column("prefix", "PREFIX", rank=5),
    Column("scopes", "SCOPES", rank=2, least=10),
    Column("last_used_at", "USED", "ago", rank=4),
    Column("expires_at", "EXPIRES", "ago", rank=3, only_if_any=True),
    Column("revoked_at", "REVOKED AT", "ago", rank=1, only_if_any=True),
    Column("created_at", "AGE", "ago", rank=6),
)
USERS = (
    _ID,
    Column("username", "NAME", least=12),
    Column("role", "ROLE"),
    Column("email", "E-MAIL", rank=3, least=12),
    Column("is_active", "ACTIVE", "yes", rank=1),
    Column("max_priority", "UP TO", rank=5),
    Column("weight", "WEIGHT", "number", rank=6),
    Column("created_at", "AGE", "ago", rank=4),
)
