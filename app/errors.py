"""All errors that the service raises deliberately, in one tree.

    ServiceError
    ├── Unauthenticated        no valid credentials
    ├── Forbidden              valid ones, which do not suffice
    ├── NotFound               also of what belongs to another user
    ├── Conflict               the state does not allow it: nothing was changed
    ├── PreconditionFailed     an outdated ETag
    ├── InvalidInput           `errors` has the refused fields
    ├── RangeNotSatisfiable
    ├── TooManyRequests        QuotaExceeded: what one user may have
    ├── Unavailable            it may work later
    └── StorageFull

Each has a stable `code` and a `title`. Services raise these and know no HTTP: `app/api/http/problems.py` gives the
status and renders the answer. What concerns a task's body stands apart at the end: `ReportedFailure`,
`ResultTooLarge`, `OutputTooLarge`, `StepRepeated`, and `TaskCancelled`, `AttemptLost`, `AttemptHandedBack`, which are
control flow, as `asyncio.CancelledError` is.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self, TypedDict
from uuid import UUID


class Text(str):
    """An English text that remembers its template, and what fills the gaps (`{}`) of it.

    It is a `str` wherever English is wanted: in JSON, in a log, in a column. `str()` of it, and of an exception that
    was made of it, is the Text itself. An f-string or a method of `str` makes plain English of it, which has no
    translation any more: what a Text is a part of is a Text too. A text without gaps needs none of this.
    """

    __slots__ = ("gaps", "template")
    template: str
    gaps: tuple[Any, ...]

    def __new__(cls, template: str, *gaps: Any) -> Self:
        """Return the text. The template stands as a literal at the call: tests compare these with the translations."""
        text = super().__new__(cls, template.format(*gaps) if gaps else template)
        text.template, text.gaps = template, gaps
        return text

    def __str__(self) -> Self:
        return self


def joined(separator: str, texts: Iterable[str]) -> Text:
    """Return several texts as one, with the same separator in each language."""
    parts = [*texts]
    return Text(separator.join(["{}"] * len(parts)), *parts)


def without(text: str, gap: str) -> str:
    """Return the text with nothing in the place of this gap, also within its other gaps."""
    if not isinstance(text, Text) or text == gap:
        return "" if text == gap else text
    return Text(text.template, *(without(each, gap) if isinstance(each, str) else each for each in text.gaps))


class FieldError(TypedDict):
    """One refused field: its path in what was given, why, and pydantic's or our error type.

    The rejected value is never repeated. The API puts the location (`body`, `query`, `header`) before the path.
    """

    loc: list[str | int]
    msg: str
    type: str


class ServiceError(Exception):
    """Base of every deliberate error. `detail` is safe to show to the caller."""

    code: ClassVar[str] = "service_error"
    title: ClassVar[str] = "Service error"

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None) -> None:
        self.detail = detail or self.title
        self.retry_after = retry_after
        super().__init__(self.detail)


class Unauthenticated(ServiceError):
    code, title = "not_authenticated", "The request has no credentials: log in or send an API key"


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "The username or the password is wrong"


class InvalidToken(Unauthenticated):
    code, title = "invalid_token", "The token is invalid, expired or revoked"


class SecondFactorRequired(Unauthenticated):
    """The password was right. No code came with it, or one that is wrong or was used before."""

    code, title = "second_factor_required", "This account needs a one-time code: send an unused one as otp"


class Forbidden(ServiceError):
    code, title = "forbidden", "This is not allowed"


class AdminOnly(Forbidden):
    code, title = "admin_only", "Only administrators can do this"


class TaskNotAllowed(Forbidden):
    """The operator has listed who may create this task, and the user is not among them."""

    code, title = "task_not_allowed", "You may not create this task"


class PriorityNotAllowed(Forbidden):
    """An administrator has limited the priorities that the user may give to tasks."""

    code, title = "priority_not_allowed", "You may not give a task this priority"


class InsufficientScope(Forbidden):
    """The API key is valid but lacks a scope."""

    code, title = "insufficient_scope", "The API key lacks the required scope"

    def __init__(self, scope: str = "tasks:read") -> None:
        super().__init__(Text("The API key lacks the scope {}", scope))
        self.scope = scope


class LoginOnly(Forbidden):
    """API keys cannot do this, whatever their scopes: a leaked key must not create further credentials."""

    code, title = "login_only", "API keys cannot do this: log in with a password"


class RegistrationClosed(Forbidden):
    code, title = "registration_closed", "Registration is closed: ask an administrator for an account"


class WrongPassword(Forbidden):
    """Not a 401: the token is valid, and the client must keep it."""

    code, title = "wrong_password", "The current password is wrong"


class WrongOneTimeCode(Forbidden):
    """Not a 401: the token is valid, and the client must keep it."""

    code, title = "wrong_otp", "The one-time code is wrong or was used before"


class CrossOrigin(Forbidden):
    """A form of the pages that none of them sent: another site, or a program without a browser's headers."""

    code, title = "cross_origin", "The form was not sent from a page of this service"


class ForeignOrigin(CrossOrigin):
    """A request of a web page to the MCP endpoint, which only pages of the origins in CORS_ORIGINS may use."""

    code, title = "foreign_origin", "Pages of this origin may not use this endpoint"


class NotFound(ServiceError):
    code, title = "not_found", "Not found"


class TaskNotFound(NotFound):
    code, title = "task_not_found", "The task does not exist"


class UserNotFound(NotFound):
    code, title = "user_not_found", "The user does not exist"


class SessionNotFound(NotFound):
    code, title = "session_not_found", "The login does not exist"


class ApiKeyNotFound(NotFound):
    code, title = "api_key_not_found", "The API key does not exist"


class SecondFactorNotFound(NotFound):
    code, title = "second_factor_not_found", "No second factor is set up"


class QueueNotFound(NotFound):
    code, title = "queue_not_found", "The queue does not exist"


class WorkerNotFound(NotFound):
    code, title = "worker_not_found", "There is no live worker of this name"


class LimitNotFound(NotFound):
    code, title = "limit_not_found", "The limit does not exist"


class BulkDeedNotFound(NotFound):
    code, title = "bulk_deed_not_found", "The bulk operation does not exist, or ended long ago"


class WebhookNotFound(NotFound):
    code, title = "webhook_not_found", "The webhook endpoint does not exist"


class DeliveryNotFound(NotFound):
    code, title = "delivery_not_found", "The endpoint has no such delivery, or it was long ago"


class ErrorGroupNotFound(NotFound):
    code, title = "error_group_not_found", "There is no such group of failures"


class ScheduleNotFound(NotFound):
    code, title = "schedule_not_found", "There is no such schedule"


class FileNotFound(NotFound):
    code, title = "file_not_found", "There is no such file"


class ArtifactNotFound(NotFound):
    code, title = "artifact_not_found", "The task has saved no artifact of this name, or not yet"


class WorkflowNotFound(NotFound):
    code, title = "workflow_not_found", "There is no such workflow"


class Conflict(ServiceError):
    code, title = "conflict", "Conflict"


class InvalidTransition(Conflict):
    """The task's state does not allow the change. Nothing was changed."""

    code, title = "invalid_transition", "The state of the task does not allow this"


class TaskActive(Conflict):
    code, title = "task_active", "The task is pending or running: cancel it first"


class TaskHasChildren(Conflict):
    code, title = (
        "task_has_children",
        "A pending task depends on this task, or one reads what it saved: cancel that first",
    )


class FileInUse(Conflict):
    """Nothing was deleted."""

    code, title = "file_in_use", "A pending or running task or a schedule names the file: delete or cancel that first"


class ParentFailed(Conflict):
    code, title = "parent_failed", "A task that this one depends on has not succeeded: retry that one first"


class ParentDeleted(Conflict):
    code, title = "parent_deleted", "A task whose result this one needs is deleted"


class WorkflowActive(Conflict):
    code, title = "workflow_active", "The workflow is pending or running: cancel it first"


class WorkflowTransition(Conflict):
    """The workflow's state does not allow the change. Nothing was changed."""

    code, title = "workflow_transition", "The state of the workflow does not allow this"


class UserExists(Conflict):
    code, title = "user_exists", "The username or the e-mail address is taken"


class UserHasTasks(Conflict):
    code, title = "user_has_tasks", "The user has pending or running tasks: cancel them first"


class LastAdmin(Conflict):
    code, title = "last_admin", "The last active administrator must stay one"


class ApiKeyLimit(Conflict):
    code, title = "api_key_limit", "You have too many API keys: revoke one first"


class IdempotencyKeyInFlight(Conflict):
    """The first request is not decided yet. Repeating the same request returns its outcome."""

    code, title = "idempotency_key_in_flight", "A request with this Idempotency-Key is in progress: try again later"


class IdempotentTaskDeleted(Conflict):
    """The task is not created again: a late repetition must not run a deleted task."""

    code, title = "idempotent_task_deleted", "The task of this Idempotency-Key was deleted"


class IdempotentScheduleDeleted(Conflict):
    code, title = "idempotent_schedule_deleted", "The schedule of this Idempotency-Key was deleted"


class IdempotentWorkflowDeleted(Conflict):
    code, title = "idempotent_workflow_deleted", "The workflow of this Idempotency-Key was deleted"


class ReplayTooLarge(Conflict):
    """The batch was accepted by the first request. Its tasks have grown since, by their results."""

    code, title = "replay_too_large", "The batch was accepted before; its tasks are too large now for one answer"


class UniqueKeyTaken(Conflict):
    """Nothing was created or changed. `task_id` has the key; it is None if two tasks of one batch ask for the key."""

    code, title = "unique_key_taken", "Another task has this unique_key"

    def __init__(self, detail: str | None = None, *, task_id: UUID | None = None) -> None:
        super().__init__(detail)
        self.task_id = task_id


class LimitReached(Conflict):
    """`on_excess: "reject"`: the task would have had to wait. Nothing was created."""

    code, title = "limit_reached", "The limit is reached: try again later"


class LimitUsed(Conflict):
    code, title = "limit_used", "Pending or running tasks name the limit"


class KeptTasksTooLarge(Conflict):
    """`on_conflict: "return"` would answer more than a batch may take. Nothing was created."""

    code, title = "kept_tasks_too_large", "The tasks that have the keys are too large for one answer: send fewer"


class WebhooksOff(Conflict):
    """Webhooks are never sent unsigned."""

    code, title = "webhooks_off", "Webhooks are off: the operator must set WEBHOOK_SECRET"


class EndpointsOff(WebhooksOff):
    """The secrets of endpoints are encrypted with SECRET_KEY. Without one, each process makes up its own."""

    code = "webhook_endpoints_off"
    title = "Webhook endpoints are off: the operator must set SECRET_KEY, the same in every process"


class WebhookLimit(Conflict):
    code, title = "webhook_limit", "You have too many webhook endpoints: delete one first"


class WebhookDisabled(Conflict):
    code, title = "webhook_disabled", "The webhook endpoint is disabled: enable it first"


class SecondFactorSet(Conflict):
    code, title = "second_factor_set", "A second factor is in force: remove it first"


class SecondFactorOff(Conflict):
    """A key that this process made up would be gone at its end, and with it every second factor."""

    code, title = "second_factor_off", "Second factors are off: the operator must set SECRET_KEY"


class BulkDeedOver(Conflict):
    code, title = "bulk_deed_over", "The bulk operation has finished: nothing is left to abort"


class PreconditionFailed(ServiceError):
    code, title = "precondition_failed", "The resource has another ETag now: read it again"


class InvalidInput(ServiceError):
    """`errors` holds the refused fields. Without a detail, the first are told, each with its place and reason."""

    code, title = "validation_error", "The request is not valid"
    field: ClassVar[str | None] = None  # that each error of the class is about

    def __init__(self, detail: str | None = None, errors: list[FieldError] | None = None) -> None:
        if not errors and self.field is not None:
            errors = [{"loc": [self.field], "msg": self.title, "type": self.code}]
        super().__init__(detail or detail_of(self.title, errors or []))
        self.errors = errors or []

    @classmethod
    def at(cls, loc: Sequence[str | int], msg: str, kind: str | None = None, detail: str | None = None) -> Self:
        """Return the error of one field. `kind` is its type, the code of the error where it has none of its own."""
        return cls(detail, [{"loc": [*loc], "msg": msg, "type": kind or cls.code}])

    def of_batch(self, at: int) -> Self:
        """Say that it is about the task at this index of a batch. Returns the error itself."""
        is_made = self.detail == detail_of(self.title, self.errors)
        self.errors = [{**each, "loc": ["tasks", at, *each["loc"]]} for each in self.errors]
        self.detail = detail_of(self.title, self.errors) if is_made else Text("tasks[{}]: {}", at, self.detail)
        return self

    def below(self, field: str) -> Self:
        """Say that it is about what this field holds. Returns the error itself."""
        is_made = self.detail == detail_of(self.title, self.errors)
        self.errors = [{**each, "loc": [field, *each["loc"]]} for each in self.errors]
        self.detail = detail_of(self.title, self.errors) if is_made else self.detail
        return self


MOST_TOLD = 3


def detail_of(title: str, errors: Sequence[FieldError]) -> str:
    """Return the place and the reason of the first errors, such as `kwargs.steps: is required`; else the title."""
    reasons = [_placed(each["loc"], each["msg"]) for each in errors[:MOST_TOLD] if each["msg"] != title]
    return joined("; ", reasons) if reasons else title


def _placed(loc: Sequence[str | int], reason: str) -> str:
    """Return the reason behind its path; behind `body` one that is about the whole of it, if it is no sentence."""
    if [*loc] == ["body"]:
        return Text("body: {}", reason) if reason[:1].islower() else reason
    place = ".".join(map(str, loc[1:] if loc[:1] == ["body"] else loc))
    return Text("{}: {}", place, reason) if place else reason


class UnknownParameter(InvalidInput):
    """A misspelt filter must not match everything."""

    code, title = "unknown_parameter", "The call has no such query parameter"


class RepeatedParameter(InvalidInput):
    code, title = "repeated_parameter", "The query parameter may be sent once"


class InvalidTask(InvalidInput):
    title = "The task is not valid"


class UnknownTask(InvalidInput):
    code, title = "unknown_task", "This task cannot be created"


class InvalidArguments(InvalidInput):
    code, title = "invalid_arguments", "The arguments do not match the parameters of the task"


class UnknownLimit(InvalidInput):
    """`meant`: the nearest of the limits that there are, as `, did you mean X`, for a caller that may list them."""

    code, title = "unknown_limit", "There is no such limit"

    def __init__(self, name: str | None = None, meant: str = "") -> None:
        self.name, self._meant = name, meant
        if name is None:
            super().__init__()
            return
        errors: list[FieldError] = [{"loc": ["limit"], "msg": Text("is no limit{}", meant), "type": self.code}]
        super().__init__(Text("There is no limit {}{}", name[:100], meant), errors=errors)

    def without_nearest(self) -> Self:
        """Leave the nearest out, for a caller that may not list the limits. Returns the error itself."""
        self.detail = without(self.detail, self._meant)
        self.errors = [{**each, "msg": without(each["msg"], self._meant)} for each in self.errors]
        return self


class InvalidLimit(InvalidInput):
    code, title = "invalid_limit", "The limit is not valid"


class InvalidSchedule(InvalidInput):
    code, title = "invalid_schedule", "The schedule is not valid"


class InvalidWorkflow(InvalidInput):
    code, title = "invalid_workflow", "The workflow is not valid"


class TooManyTimes(InvalidInput):
    code, title = "too_many_times", "The range has too many times: send a shorter one"


class InvalidWebhook(InvalidInput):
    code, title = "invalid_webhook", "The webhook endpoint is not valid"


class InvalidUpload(InvalidInput):
    """The body of an upload is not what it says, or what the call takes. Nothing is kept."""

    code, title = "invalid_upload", "The upload is not valid"


class RangeNotSatisfiable(ServiceError):
    """The content ends before the range that was asked for. `size` is its length in bytes."""

    code, title = "range_not_satisfiable", "The range lies outside the content"

    def __init__(self, size: int = 0) -> None:
        super().__init__(Text("The content has {} bytes", size))
        self.size = size


class InvalidCursor(InvalidInput):
    code, title = "invalid_cursor", "The cursor is not valid"

    def __init__(self) -> None:
        super().__init__(errors=[{"loc": [], "msg": self.title, "type": "cursor"}])


class InvalidSearch(InvalidInput):
    """`place` is where the search stands in the request."""

    code, title = "invalid_search", "The search is not understood"

    def __init__(self, reasons: Sequence[str], place: Sequence[str]) -> None:
        said: list[FieldError] = [{"loc": [*place[1:]], "msg": reason, "type": "search"} for reason in reasons]
        super().__init__(detail_of(self.title, said), [{**each, "loc": [*place]} for each in said])


class IdempotencyKeyReused(InvalidInput):
    code, title = "idempotency_key_reused", "The Idempotency-Key was used with another body"

    def __init__(self) -> None:
        super().__init__(errors=[{"loc": [], "msg": "The key was used with another body", "type": self.code}])


class WeakPassword(InvalidInput):
    code, title = "weak_password", "The password is too easy to guess"


class PreviewRequired(InvalidInput):
    """A filter alone may match anything: its caller has to see how many tasks first."""

    field = "token"
    code, title = "preview_required", "Send the filter with dry_run first, then the token of that answer"


class TokenExpired(InvalidInput):
    """The token is older than ten minutes, or none of this user's."""

    field = "token"
    code, title = "token_expired", "The token is too old or unknown: preview it again"


class TokenMismatch(InvalidInput):
    field = "token"
    code, title = "token_mismatch", "The token is for another operation, filter or list of ids"


class TooManyRequests(ServiceError):
    code, title = "too_many_requests", "Too many requests: try again later"


class TooManyStreams(TooManyRequests):
    code, title = "too_many_streams", "Too many open event streams: close one first"


class TooManyDeeds(TooManyRequests):
    """The user caused so many audit records that the next deed is refused. Nothing was done.

    `limit` is the number of deeds in the window; `first` marks the first refusal of it, which is recorded.
    """

    code, title = "too_many_recorded_actions", "You did too much that the audit records: try again later"

    def __init__(
        self, detail: str | None = None, *, retry_after: int | None = None, limit: int = 0, first: bool = False
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.limit, self.first = limit, first


class TooManyInProgress(TooManyRequests):
    """One user has too many requests in progress on this process, or too many bytes of bodies and unread answers."""

    code, title = "too_many_in_progress", "Too many of your requests are in progress: wait for their answers"


class TooManyWaiting(TooManyRequests):
    """The request was refused before it did anything."""

    code, title = "too_many_waiting", "Too many of your requests are waiting: wait for their answers first"


class QuotaExceeded(TooManyRequests):
    """Base of the quotas of a user. `detail` names the quota and its limit."""

    code, title = "quota_exceeded", "A quota is exhausted"


class TooManyTasksQueued(QuotaExceeded):
    code, title = "queued_tasks_quota", "You have too many pending and running tasks"


class TooManyBytesQueued(QuotaExceeded):
    code, title = "queued_bytes_quota", "The arguments of your pending and running tasks are too large in total"


class TooManySubmissions(QuotaExceeded):
    code, title = "tasks_per_minute_quota", "You created too many tasks in the last minute"


class TooManyBytesStored(QuotaExceeded):
    """No wait helps, unless RETENTION_BYTES is set: something has to be deleted. `detail` says what that frees."""

    code, title = "stored_bytes_quota", "You keep too many bytes: delete tasks that have ended"


class TooManyBulkDeeds(QuotaExceeded):
    code, title = "bulk_deeds_quota", "Too many of your bulk operations are running: wait until one has ended"


class TooManySchedules(QuotaExceeded):
    code, title = "schedules_quota", "You have too many schedules: delete some first"


class Unavailable(ServiceError):
    code, title = "unavailable", "The service cannot answer now: try again later"


class DatabaseUnavailable(Unavailable):
    code, title = "database_unavailable", "The database does not answer: try again later"


class StorageUnavailable(Unavailable):
    """The storage of files does not answer, or refuses. Its cause is the library's error."""

    code, title = "storage_unavailable", "The storage of files does not answer: try again later"


class ContentMissing(Unavailable):
    """The row says that the bytes are there, and the storage does not have them."""

    code, title = "content_missing", "The storage has lost this content: upload it again"


class StorageFull(ServiceError):
    code, title = "storage_full", "The storage of files is full: nothing was kept"


class NotMigrated(Unavailable):
    """The database lacks migrations that the code needs. The detail says what to run."""

    code, title = "not_migrated", "The database is not migrated: run `alembic upgrade head`"


class TookTooLong(Unavailable):
    """The database stopped a read after DATABASE_STATEMENT_TIMEOUT_SECONDS."""

    code, title = "took_too_long", "The query exceeded the time limit: use narrower filters"


class Overloaded(Unavailable):
    """Too many requests wait. The request was refused before it did anything."""

    code, title = "overloaded", "Too many requests are waiting: try again later"


class NotReady(Unavailable):
    """`checks` holds each checked part with `ok` or its fault."""

    code, title = "not_ready", "The service is not ready"

    def __init__(self, checks: dict[str, str]) -> None:
        failed = "; ".join(f"{name}: {state}" for name, state in checks.items() if state != "ok")
        super().__init__(failed, retry_after=5)
        self.checks = checks


class ReportedFailure(Exception):
    """The body has set its task to failed by `update_task_status`. Celery sees this as the error of the body."""


class ResultTooLarge(ValueError):
    """A result or progress detail is larger than MAX_RESULT_BYTES. Nothing of it is stored."""


class ArtifactTooLarge(ValueError):
    """What `save_artifact` was given has more than MAX_FILE_BYTES. Nothing of it is kept."""


class OutputTooLarge(ValueError):
    """A body would have emitted more than TASK_OUTPUT_BYTES in all attempts. What it emitted before is kept."""


class UnusableResult(ValueError):
    """An argument refers to the result of another task, and cannot have it. The task fails, and is not retried."""


class TaskCancelled(BaseException):
    """Raised in a task's body after a cancel request: by `update_progress` or `track`, else at any point.

    A `BaseException`, as `asyncio.CancelledError` is, so that a body's `except Exception` does not swallow it.
    """


class AttemptLost(BaseException):
    """Raised in a body whose attempt no longer holds the task. The service refuses its writes."""


class StepRepeated(ValueError):
    """A body has named two steps alike. Its task fails, and is not retried."""


class DailyLimitReached(Exception):
    """A user's tasks have done enough on the outside for today: the attempt fails, and is not repeated."""


class AttemptHandedBack(BaseException):
    """Raised in a body whose worker shuts down and hands the task back. The task runs again from the start."""
