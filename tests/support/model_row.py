"""The row of the model: its columns, what can be told from them, and the three ways in which it moves."""

import itertools
from dataclasses import dataclass, field
from typing import Any

GRACE, FAR, LOST_AFTER = 600.0, 3600.0, 300.0
MAX_CRASHES = 3
PRIORITIES = ("low", "normal", "high", "critical")
QUEUES = dict(zip(PRIORITIES, ("low_priority", "default", "high_priority", "high_priority"), strict=True))
ENDED = frozenset({"succeeded", "failed", "revoked"})

_windows = itertools.count(1)


class Clock:
    now = 0.0


@dataclass
class ModelRow:
    clock: Clock
    priority: str
    max_attempts: int
    rerun_lost: bool
    backoff: float
    run_at: float | None
    expires_at: float | None
    status: str = "pending"
    attempt: int = 0
    generation: int = 1
    failures: int = 0
    crashes: int = 0
    version: int = 1
    progress: int = 0
    status_reason: str | None = None
    error_type: str | None = None
    result: Any = None
    cancel_requested: bool = False
    delete_requested: bool = False
    claim_id: Any = None
    worker: str | None = None
    pid: int | None = None
    started_at: float = 0.0
    dispatch_at: float | None = None
    dispatched_at: float | None = None
    # Names the present value of `dispatch_at`, whatever the clock does to it.
    window: int = 0
    gone: bool = False
    past: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        later = self.run_at is not None and self.run_at > self.clock.now
        self.open_window(self.run_at if later else self.clock.now + GRACE)

    # What it is

    @property
    def queue(self) -> str:
        return QUEUES[self.priority]

    def history(self) -> list[tuple[int, str]]:
        """Every attempt; the one that runs or succeeded is told by the task itself."""
        return [*self.past, *([(self.attempt, self.status)] if self.status in {"running", "succeeded"} else [])]

    def has_ended(self) -> bool:
        return self.status in ENDED

    def due(self) -> bool:
        return not self.gone and self.dispatch_at is not None and self.dispatch_at <= self.clock.now

    def in_doubt(self) -> bool:
        """Its message has been out for a while."""
        return self.dispatched_at is not None and self.dispatched_at < self.clock.now - LOST_AFTER

    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= self.clock.now

    def waits(self) -> bool:
        return self.run_at is not None and self.run_at > self.clock.now

    def holds(self, attempt: int) -> bool:
        return not self.gone and self.status == "running" and self.attempt == attempt

    # Moves

    def open_window(self, dispatch_at: float | None, dispatched_at: float | None = None) -> None:
        self.dispatch_at, self.dispatched_at, self.window = dispatch_at, dispatched_at, next(_windows)

    def _end_attempt(self, outcome: str) -> None:
        self.past.append((self.attempt, outcome))

    def _finish(self, status: str, reason: str | None = None, error: str | None = None) -> bool:
        self.status, self.error_type, self.claim_id, self.pid = status, error, None, None
        self.status_reason = reason or self.status_reason
        self.version += 1
        self.open_window(None)
        return True

    def _wait(self, dispatch_at: float) -> bool:
        self.status, self.status_reason, self.claim_id, self.pid, self.progress = "pending", None, None, None, 0
        self.version += 1
        self.open_window(dispatch_at)
        return True
