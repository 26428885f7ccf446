"""Every error the service raises on purpose, in one tree.

    ServiceError
    ├── Unauthenticated        401  InvalidCredentials, InvalidToken
    ├── Forbidden              403  AdminOnly, InsufficientScope, LoginOnly, RegistrationClosed, WrongPassword
    ├── NotFound               404  TaskNotFound, UserNotFound, ApiKeyNotFound, SessionNotFound
    ├── Conflict               409  InvalidTransition, TaskActive, UserExists, UserHasTasks, LastAdmin, ApiKeyLimit,
    │                               IdempotencyKeyInFlight, IdempotentTaskDeleted, WebhooksOff
    ├── PreconditionFailed     412
    ├── InvalidInput           422  UnknownTask, InvalidArguments, InvalidCursor, InvalidTask, IdempotencyKeyReused,
    │                               WeakPassword
    ├── TooManyRequests        429  TooManyStreams; QuotaExceeded: TooManyTasksQueued, TooManyBytesQueued,
    │                               TooManySubmissions
    └── Unavailable            503  DatabaseUnavailable, TookTooLong, NotReady, Overloaded

Each has a stable `code`, a `title` and an HTTP status; `app/api/http/problems.py` renders them. Services raise
these and never import FastAPI. What speaks to a task's body stands apart at the end: `ResultTooLarge`, and
`TaskCancelled`, `AttemptLost`, `AttemptHandedBack`, which are control flow, as `asyncio.CancelledError` is.
"""

from typing import ClassVar, TypedDict


class FieldError(TypedDict):
    """One refused field; the rejected value itself is never repeated."""

    loc: list[str | int]
    msg: str
    type: str


class ServiceError(Exception):
    """Base of every deliberate error. `detail` is safe to show to the caller."""

    code: ClassVar[str] = "service_error"
    title: ClassVar[str] = "Service error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None) -> None:
        self.detail = detail or self.title
        self.retry_after = retry_after
        super().__init__(self.detail)


class Unauthenticated(ServiceError):
    code, title, status = "not_authenticated", "Not authenticated", 401


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "Wrong username or password"


class InvalidToken(Unauthenticated):
    code, title = "invalid_token", "The token is invalid, expired or revoked"


class Forbidden(ServiceError):
    code, title, status = "forbidden", "Forbidden", 403


class AdminOnly(Forbidden):
    code, title = "admin_only", "Only an administrator may do this"


class InsufficientScope(Forbidden):
    """The API key is good, and its owner might do this; the key lacks the scope."""

    code, title = "insufficient_scope", "The API key lacks the scope for this"

    def __init__(self, scope: str = "tasks:read") -> None:
        super().__init__(f"The API key lacks the scope {scope}")
        self.scope = scope


class LoginOnly(Forbidden):
    """No scope helps: a key that leaked must not make itself at home."""

    code, title = "login_only", "Only a login may do this, not an API key"


class RegistrationClosed(Forbidden):
    code, title = "registration_closed", "Registration is closed"


class WrongPassword(Forbidden):
    """Not a 401: the token was good, and a client must not throw it away."""

    code, title = "wrong_password", "The current password is wrong"


class NotFound(ServiceError):
    code, title, status = "not_found", "Not found", 404


class TaskNotFound(NotFound):
    code, title = "task_not_found", "No such task"


class UserNotFound(NotFound):
    code, title = "user_not_found", "No such user"


class SessionNotFound(NotFound):
    code, title = "session_not_found", "No such login"


class ApiKeyNotFound(NotFound):
    code, title = "api_key_not_found", "No such API key"


class Conflict(ServiceError):
    code, title, status = "conflict", "Conflict", 409


class InvalidTransition(Conflict):
    """The task's state does not allow what was asked; nothing was changed."""

    code, title = "invalid_transition", "The task's state does not allow this"


class TaskActive(Conflict):
    code, title = "task_active", "The task is still pending or running"


class UserExists(Conflict):
    code, title = "user_exists", "The username or e-mail address is taken"


class UserHasTasks(Conflict):
    code, title = "user_has_tasks", "The user still has pending or running tasks"


class LastAdmin(Conflict):
    code, title = "last_admin", "The last active administrator must stay one"


class ApiKeyLimit(Conflict):
    code, title = "api_key_limit", "You have too many API keys"


class IdempotencyKeyInFlight(Conflict):
    """Whether that request creates its task is not decided yet: the same request again finds out."""

    code, title = "idempotency_key_in_flight", "A request with this Idempotency-Key is being processed"


class IdempotentTaskDeleted(Conflict):
    """Not created anew: a repetition that comes late must not run what its owner has deleted."""

    code, title = "idempotent_task_deleted", "The task of this Idempotency-Key has been deleted"


class WebhooksOff(Conflict):
    """Nothing is sent unsigned."""

    code, title = "webhooks_off", "This service sends no webhooks: WEBHOOK_SECRET is not set"


class PreconditionFailed(ServiceError):
    code, title, status = "precondition_failed", "The resource has changed since it was read", 412


class InvalidInput(ServiceError):
    """Carries the refused fields."""

    code, title, status = "validation_error", "The request is not valid", 422

    def __init__(self, detail: str | None = None, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class InvalidTask(InvalidInput):
    title = "The task is not valid"


class UnknownTask(InvalidInput):
    code, title = "unknown_task", "No such task can be created"


class InvalidArguments(InvalidInput):
    code, title = "invalid_arguments", "The arguments do not fit the task's parameters"


class InvalidCursor(InvalidInput):
    code, title = "invalid_cursor", "The cursor is not one that this service gave out"


class IdempotencyKeyReused(InvalidInput):
    code, title = "idempotency_key_reused", "The Idempotency-Key was used with another body"


class WeakPassword(InvalidInput):
    code, title = "weak_password", "The password is too easy to guess"


class TooManyRequests(ServiceError):
    code, title, status = "too_many_requests", "Too many requests", 429


class TooManyStreams(TooManyRequests):
    code, title = "too_many_streams", "Too many open event streams"


class QuotaExceeded(TooManyRequests):
    """Base of the quotas of one user. `detail` says which one, and how much it allows."""

    code, title = "quota_exceeded", "A quota of yours is used up"


class TooManyTasksQueued(QuotaExceeded):
    code, title = "queued_tasks_quota", "Too many of your tasks are pending or running"


class TooManyBytesQueued(QuotaExceeded):
    code, title = "queued_bytes_quota", "The arguments of your pending and running tasks are too large together"


class TooManySubmissions(QuotaExceeded):
    code, title = "tasks_per_minute_quota", "Too many tasks in a minute"


class Unavailable(ServiceError):
    code, title, status = "unavailable", "The service cannot answer right now", 503


class DatabaseUnavailable(Unavailable):
    code, title = "database_unavailable", "The database does not answer"


class TookTooLong(Unavailable):
    """The database works, and stopped a read at DATABASE_STATEMENT_TIMEOUT_SECONDS."""

    code, title = "took_too_long", "This takes the database longer than it may"


class Overloaded(Unavailable):
    """More wait to be served than can be within a moment: turned away before anything was done."""

    code, title = "overloaded", "Too many requests are waiting"


class NotReady(Unavailable):
    """Carries what was checked: the name of each part with `ok` or what is wrong with it."""

    code, title = "not_ready", "The service is not ready"

    def __init__(self, checks: dict[str, str]) -> None:
        failed = "; ".join(f"{name}: {state}" for name, state in checks.items() if state != "ok")
        super().__init__(failed, retry_after=5)
        self.checks = checks


class ResultTooLarge(ValueError):
    """What a body returns, or reports of its progress, is more than MAX_RESULT_BYTES: nothing of it is stored."""


class TaskCancelled(BaseException):
    """Raised in a body once its cancellation was asked for: by `update_progress` or `track`, else wherever it is.

    A `BaseException`, as `asyncio.CancelledError` is, so that a body's `except Exception` does not swallow it.
    """


class AttemptLost(BaseException):
    """Raised in a body whose attempt no longer holds the task: whatever it would write is refused."""


class AttemptHandedBack(BaseException):
    """Raised in a body whose worker shuts down and gives the task back: it runs again, from the start, elsewhere."""
