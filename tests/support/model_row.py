"""The row of the model: its columns, what can be told from them, and the three ways in which it moves."""

from dataclasses import dataclass, field
from typing import Any

MAX_CRASHES = 3
PRIORITIES = ("low", "normal", "high", "critical")
QUEUES = dict(zip(PRIORITIES, ("low_priority", "default", "high_priority", "high_priority"), strict=True))
ENDED = frozenset({"succeeded", "failed", "revoked"})


class Clock:
    now = 0.0


@dataclass
class ModelRow:
    clock: Clock
    name: str
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
    due_at: float | None = None
    # Whether it has a turn in its line.
    placed: bool = False
    gone: bool = False
    past: list[tuple[int, str]] = field(default_factory=list)
    # The queues in which a slot was to be woken for it, since this was last looked at.
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line_up()

    # What it is

    @property
    def queue(self) -> str:
        return QUEUES[self.priority]

    def history(self) -> list[tuple[int, str]]:
        """Every attempt; the one that runs or succeeded is told by the task itself."""
        return [*self.past, *([(self.attempt, self.status)] if self.status in {"running", "succeeded"} else [])]

    def has_ended(self) -> bool:
        return self.status in ENDED

    def unplaced(self) -> bool:
        """It has become due, and has no turn yet."""
        return not self.gone and not self.placed and self.due_at is not None and self.due_at <= self.clock.now

    def waits_for_a_slot(self) -> bool:
        return not self.gone and self.status == "pending" and self.placed

    def may_start(self) -> bool:
        return self.waits_for_a_slot() and not self.expired()

    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= self.clock.now

    def waits(self) -> bool:
        return self.run_at is not None and self.run_at > self.clock.now

    def holds(self, attempt: int) -> bool:
        return not self.gone and self.status == "running" and self.attempt == attempt

    # Moves

    def line_up(self) -> None:
        """A client's word has made it pending: it gets a turn now or, if it starts later, once it is due."""
        self.placed = not self.waits()
        self.due_at = self.clock.now if self.placed else self.run_at
        if self.placed:
            self.woken.append(self.queue)

    def _end_attempt(self, outcome: str) -> None:
        self.past.append((self.attempt, outcome))

    def _finish(self, status: str, reason: str | None = None, error: str | None = None) -> bool:
        self.status, self.error_type, self.claim_id, self.pid = status, error, None, None
        self.status_reason = reason or self.status_reason
        self.version += 1
        self.due_at, self.placed = None, False
        return True

    def _wait(self, due_at: float) -> bool:
        """It gets its turn from maintenance, once it is due."""
        self.status, self.status_reason, self.claim_id, self.pid, self.progress = "pending", None, None, None, 0
        self.version += 1
        self.due_at, self.placed = due_at, False
        return True
