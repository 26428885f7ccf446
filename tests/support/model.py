"""Tasks as the documents describe them, in plain Python: what each operation answers and what it leaves behind.

Nothing here is taken from the statements; where the two differ, one of them is wrong. Time is a number of seconds since
the test began, and moves only when the test says so.
"""

from typing import Any

from tests.support.model_row import ENDED, MAX_CRASHES, ModelRow


class ModelTask(ModelRow):
    """A method returns what the operation answers, an error by its class's name."""

    # A worker's words

    def claim(self, claim_id: Any, worker: str, pid: int) -> int:
        """Whether it may start, and comes before the others, is for the caller to know."""
        self.status, self.claim_id, self.worker, self.pid, self.error_type = "running", claim_id, worker, pid, None
        self.attempt += 1
        self.version += 1
        self.started_at = self.clock.now
        self.due_at, self.placed = None, False
        return self.attempt

    def may_share_a_claim(self) -> bool:
        """It has cost no process, and may run again if its neighbour does."""
        return self.crashes == 0 and self.rerun_lost

    def give_back(self, attempt: int) -> None:
        """Claimed, and not begun: it has its turn again."""
        if not self.holds(attempt):
            return
        if not self._obeys():
            self._end_attempt("handed_back")
            self._wait(self.clock.now)
            self.placed = True

    def hear(self, attempt: int) -> bool | str:
        return self.cancel_requested if self.holds(attempt) else "AttemptLost"

    def report(self, attempt: int, percent: int) -> bool | str:
        if self.holds(attempt):
            self.progress = percent
            self.version += 1
        return self.hear(attempt)

    def succeed(self, attempt: int, result: Any) -> bool:
        if not self.holds(attempt):
            return False
        self.progress, self.result = 100, result
        return self._finish("succeeded")

    def _obeys(self, outcome: str = "revoked") -> bool:
        """The request to cancel beats failure, retry, hand-back and loss."""
        if not self.cancel_requested:
            return False
        self._end_attempt(outcome)
        return self._finish("revoked", "cancelled")

    def fail(self, attempt: int, error: str) -> bool:
        if not self.holds(attempt):
            return False
        if self._obeys():
            return True
        self._end_attempt("failed")
        self.failures = min(self.failures + 1, self.max_attempts)
        return self._finish("failed", error=error)

    def retry_later(self, attempt: int, error: str, delay: float) -> bool:
        if not self.holds(attempt):
            return False
        if self._obeys():
            return True
        self._end_attempt("retried")
        self.failures += 1
        self.max_attempts = max(self.max_attempts, self.failures + 1)
        self.error_type, self.run_at = error, self.clock.now + delay
        return self._wait(self.run_at)

    def hand_back(self, attempt: int) -> bool:
        if not self.holds(attempt):
            return False
        if self._obeys():
            return True
        self._end_attempt("handed_back")
        return self._wait(self.clock.now)

    def revoke(self, attempt: int, reason: str) -> bool:
        if not self.holds(attempt):
            return False
        self._end_attempt("revoked")
        return self._finish("revoked", reason)

    def say(self, attempt: int, to: str) -> str:
        """A body that sets its own status, through the service."""
        if to == "running":
            return "AttemptLost" if self.report(attempt, 40) == "AttemptLost" else "running"
        ends = {
            "succeeded": lambda: self.succeed(attempt, "own"),
            "failed": lambda: self.fail(attempt, "Failed"),
            "revoked": lambda: self.revoke(attempt, "stopped"),
        }
        if to in {"failed", "revoked"} and self.holds(attempt):
            self.progress = 40
        if to in ends and ends[to]():
            return self.status
        return "TaskNotFound" if self.gone else "InvalidTransition"

    # Words on behalf of a process that no longer can

    def lose(self) -> int:
        if self.status != "running":
            return 0
        if self._obeys("worker_lost"):
            return 1
        self._end_attempt("worker_lost")
        self.crashes += 1
        if self.rerun_lost and self.crashes < MAX_CRASHES:
            self._wait(self.clock.now)
        else:
            self._finish("failed", error="worker_lost")
        return 1

    def overrun(self) -> int:
        if self.status != "running":
            return 0
        if self._obeys():
            return 1
        self.failures = min(self.failures + 1, self.max_attempts)
        if self.failures < self.max_attempts:
            self._end_attempt("retried")
            self.error_type, self.run_at = "TimeLimitExceeded", self.clock.now + self.backoff
            self._wait(self.run_at)
        else:
            self._end_attempt("failed")
            self._finish("failed", error="TimeLimitExceeded")
        return 1

    def expire(self) -> int:
        return int(self._finish("revoked", "expired", self.error_type))

    # A client's words

    def cancel(self) -> str | bool:
        if self.gone:
            return "TaskNotFound"
        if self.status == "pending":
            return self._finish("revoked", "cancelled", self.error_type)
        if self.status == "running" and not self.cancel_requested:
            self.cancel_requested = True
            self.version += 1
        return self.status in {"running", "revoked"}

    def retry(self) -> str:
        if self.gone:
            return "TaskNotFound"
        if self.status not in {"failed", "revoked"}:
            return "InvalidTransition"
        self.generation += 1
        self.failures = self.crashes = 0
        self.result = self.error_type = self.run_at = None
        self.cancel_requested = self.delete_requested = False
        self.expires_at = None if self.expired() else self.expires_at
        self._wait(self.clock.now)
        self.line_up()
        return "pending"

    def delete(self, *, force: bool) -> bool | str:
        if self.gone:
            return "TaskNotFound"
        if self.status in ENDED or (force and self.status == "pending"):
            self.gone = True
            return True
        if not force:
            return "TaskActive"
        self.cancel_requested = self.delete_requested = True
        self.version += 1
        return False

    def edit(self, priority: str, run_at: float | None) -> str:
        if self.gone:
            return "TaskNotFound"
        if self.status != "pending":
            return "InvalidTransition"
        self.priority, self.run_at = priority, run_at
        self.version += 1
        self.line_up()
        return "pending"

    def run_now(self) -> str:
        if self.gone:
            return "TaskNotFound"
        if self.status != "pending" or not self.waits():
            return "InvalidTransition"
        self.run_at = self.clock.now
        self.version += 1
        self.line_up()
        return "pending"

    def set_status(self, to: str) -> str:
        """From outside, without an attempt."""
        if self.gone:
            return "TaskNotFound"
        if self.status == "pending" and to == "revoked":
            self._finish("revoked", "stopped", self.error_type)
        elif self.status != "running" or to not in ENDED or (to == "failed" and self.cancel_requested):
            return "InvalidTransition"
        elif to == "succeeded":
            self.progress, self.result = 100, "outside"
            self._finish(to)
        else:
            self._end_attempt(to)
            reason = ("cancelled" if self.cancel_requested else "stopped") if to == "revoked" else None
            self._finish(to, reason, "Failed" if to == "failed" else None)
        return to

    # Maintenance: no client sees it

    def place(self) -> None:
        self.placed = True
