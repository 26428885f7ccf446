"""The models of answers, made by `client/generate.py`: change nothing here."""

from __future__ import annotations

# mypy: disable-error-code="no-redef"
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime

from task_service_client.base import Model


class Attempt(Model):
    """
    One attempt to run a task.
    """

    number: int
    """
    1 for the first attempt.
    """
    worker: str | None = None
    """
    The worker that ran it.
    """
    started_at: AwareDatetime
    """
    When the attempt started, in UTC.
    """
    finished_at: AwareDatetime | None = None
    """
    When the attempt ended, in UTC; null while it runs.
    """
    outcome: Literal["running", "succeeded", "failed", "retried", "revoked", "worker_lost", "handed_back"] | str
    """
    How the attempt ended; `running` until then. While the service is upgraded, also a word that only its newer version knows.
    """
    error_type: str | None = None
    """
    The class of the exception, or `worker_lost`.
    """
    error_message: str | None = None
    """
    The message, with secrets hidden.
    """
    traceback: str | None = None
    """
    The traceback, if any, with secrets hidden.
    """


class TaskType(Model):
    """
    A task that can be created.
    """

    celery_task_name: str
    """
    The name to create it with.
    """
    summary: str
    """
    What the task does, in one line.
    """
    description: str
    """
    The rest of the task's docstring.
    """
    parameters: dict[str, Any]
    """
    The JSON Schema of the parameters, as `kwargs`.
    """
    default_queue: str
    """
    The queue for priority `normal`.
    """
    time_limit: float | None = None
    """
    The default time limit of one attempt, in seconds. `timeout_seconds` replaces it.
    """


class LogLine(Model):
    """
    One line that the body of a task logged or printed.
    """

    seq: int
    """
    Rises over all attempts of the task, with gaps.
    """
    at: AwareDatetime
    """
    When it was logged, in UTC.
    """
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | str
    """
    The level. A level in between counts as the next lower one.
    """
    logger: str
    """
    The logger's name; `stdout` and `stderr` are printed lines.
    """
    message: str
    """
    The message with its traceback, if it has one. Secrets are hidden.
    """
    attempt: int
    """
    The attempt that logged it.
    """
    fields: dict[str, Any]
    """
    What was given as `extra`. Secrets are hidden.
    """


class OutputChunk(Model):
    """
    One chunk of an output stream, which the body of a task emitted by `self.emit`.
    """

    seq: int
    """
    Rises over all streams and attempts of the task, with gaps.
    """
    stream: str
    """
    The stream that the body named.
    """
    attempt: int
    """
    The attempt that emitted it.
    """
    at: AwareDatetime
    """
    When it was emitted, in UTC; of several texts, the first one.
    """
    chunk: Any
    """
    A text or any JSON. Texts of one stream that came one behind the other may stand in one chunk.
    """


class File(Model):
    """
    A file.
    """

    id: UUID
    """
    Its id, which an argument of a task may name.
    """
    name: str
    """
    Its name.
    """
    size: int
    """
    Its bytes.
    """
    sha256: str
    """
    The SHA-256 of its bytes, in hexadecimal digits.
    """
    content_type: str
    """
    Its media type.
    """
    created_at: AwareDatetime
    """
    When its upload began, in UTC.
    """
    expires_at: AwareDatetime | None = None
    """
    When it is deleted, unless a pending task or a schedule names it, in UTC. null for an artifact.
    """
    user_id: UUID
    """
    The owner's id.
    """


class Artifact(Model):
    """
    What the body of a task has saved.
    """

    id: UUID
    """
    Its id, which an argument of a task may name.
    """
    name: str
    """
    Its name.
    """
    size: int
    """
    Its bytes.
    """
    sha256: str
    """
    The SHA-256 of its bytes, in hexadecimal digits.
    """
    content_type: str
    """
    Its media type.
    """
    attempt: int
    """
    The attempt that has saved it.
    """
    created_at: AwareDatetime
    """
    When the body began to save it, in UTC.
    """


class BulkDeed(Model):
    """
    A bulk operation and how far it is.
    """

    id: UUID
    """
    The operation's id.
    """
    matched: int
    """
    The number of tasks that matched when it was accepted, exact.
    """
    deed: Literal["cancel", "retry", "delete"] | str
    """
    What is done to the tasks.
    """
    state: Literal["running", "finished", "aborted"] | str
    """
    `running`, `finished`, or `aborted`: by a call, or because its user was deactivated.
    """
    done: int
    """
    Tasks that were changed, or were already as wanted.
    """
    failed: int
    """
    Tasks at which the service failed unexpectedly. Its log says why.
    """
    skipped: dict[str, int]
    """
    Tasks that were left as they are, by the `code` that the call for one task would answer. Unknown ids and others' tasks are `task_not_found`.
    """
    created_at: AwareDatetime
    """
    When it was accepted, in UTC.
    """
    finished_at: AwareDatetime | None = None
    """
    When it ended, in UTC. null while it runs.
    """


class TaskError(Model):
    """
    The error of the last attempt.
    """

    type: str
    """
    The class of the exception.
    """
    message: str | None = None
    """
    The message, with secrets hidden.
    """


class WaitingFor(Model):
    """
    Why a pending task does not run yet: the first reason that holds.
    """

    reason: Literal["schedule", "retry", "paused", "dependency", "limit", "no_worker", "turn"] | str
    """
    `schedule`: until its time. `retry`: until its back-off is over. `paused`: its queue is paused. `dependency`: tasks that it depends on have not ended. `limit`: its limit, or its key of it, is full. `no_worker`: no live worker serves the queue and knows the task; may lag by one heartbeat. `turn`: it is next in line when a slot is free. While the service is upgraded, also a word that only its newer version knows.
    """
    until: AwareDatetime | None = None
    """
    For `schedule` and `retry`: the time, in UTC.
    """
    key: str | None = None
    """
    For `paused`: the queue. For `limit`: `name` or `name:limit_key`; `QUOTA_RUNNING_TASKS` while as many tasks of the owner run as this setting allows.
    """
    blocked_by: list[UUID] | None = None
    """
    For `dependency`: the tasks that have not ended.
    """


class Task(Model):
    """
    A task. Answers and events show committed states only.
    """

    id: UUID
    """
    The task's id, a UUID version 7: ids sort by creation time.
    """
    celery_id: UUID
    """
    The id by which Celery knows the task. A retry through the API changes it.
    """
    user_id: UUID
    """
    The owner's id.
    """
    name: str
    """
    A name for people.
    """
    task_type: str
    """
    The owner's own category.
    """
    celery_task_name: str
    """
    The task that runs.
    """
    args: list[Any]
    """
    Positional arguments. `***` hides arguments of parameters that name a secret.
    """
    kwargs: dict[str, Any]
    """
    Keyword arguments. `***` hides values below keys that name a secret.
    """
    priority: Literal["low", "normal", "high", "critical"] | str
    """
    The priority.
    """
    queue: str
    """
    The queue: `high_priority`, `default` or `low_priority`.
    """
    status: Literal["pending", "running", "succeeded", "failed", "revoked"] | str
    """
    The state.
    """
    status_reason: str | None = None
    """
    Why the task was revoked: `cancelled`, `expired`, `ignored`, `stopped` or `parent_failed`.
    """
    progress: int
    """
    The progress in percent, 0 to 100.
    """
    progress_detail: Any = None
    """
    Details of the progress, as the task reports them.
    """
    result: Any = None
    """
    The return value of the task. null unless it succeeded.
    """
    error: TaskError | None = None
    """
    The error of the last attempt. null unless it failed.
    """
    error_fingerprint: str | None = None
    """
    The group of failures that the task belongs to: one of `GET /errors/`. null unless it failed.
    """
    run_at: AwareDatetime | None = None
    """
    The earliest start, as requested.
    """
    delay_seconds: float | None = None
    """
    The delay in seconds, as requested.
    """
    expires_at: AwareDatetime | None = None
    """
    The latest start. The task is revoked then.
    """
    timeout_seconds: float | None = None
    """
    The time limit of one attempt, in seconds.
    """
    max_attempts: int
    """
    How often the task may fail before it stays failed.
    """
    retry_backoff_seconds: float | None = None
    """
    Seconds before the second attempt. Doubles each time.
    """
    tags: list[str]
    """
    Labels, for filters.
    """
    metadata: dict[str, Any]
    """
    The owner's own data. `***` hides values below keys that name a secret.
    """
    unique_key: str | None = None
    """
    The key that no other pending or running task of the owner has.
    """
    on_conflict: Literal["reject", "return", "replace"] | str | None = None
    """
    As requested. null without a `unique_key`.
    """
    limit: str | None = None
    """
    The limit that the task needs a place of to run.
    """
    limit_key: str | None = None
    """
    The key of the limit.
    """
    depends_on: list[UUID] | None = None
    """
    The tasks that it waits for before it starts.
    """
    webhook_url: str | None = None
    """
    Is told of the end of the task. `***` hides what looks like a secret.
    """
    schedule_id: UUID | None = None
    """
    The schedule that made the task: by itself, by a trigger or by a backfill.
    """
    workflow_id: UUID | None = None
    """
    The workflow that it is part of.
    """
    attempt: int
    """
    The number of starts so far, including lost ones.
    """
    worker: str | None = None
    """
    The worker of the last attempt.
    """
    version: int
    """
    Grows by one with each visible change. The ETag holds it too.
    """
    created_at: AwareDatetime
    """
    When the task was accepted, in UTC.
    """
    updated_at: AwareDatetime
    """
    When the task last changed, in UTC.
    """
    started_at: AwareDatetime | None = None
    """
    When the last attempt started, in UTC.
    """
    finished_at: AwareDatetime | None = None
    """
    When the task ended, in UTC.
    """
    cancel_requested_at: AwareDatetime | None = None
    """
    When cancellation was requested, in UTC.
    """
    waiting_for: WaitingFor | None = None
    """
    Why the task does not run yet. null unless it is pending. It changes neither `version` nor ETag.
    """
    retry_of: UUID | None = None
    """
    The ended task that this one repeats with changes. That task may be deleted by now.
    """


class TaskBatch(Model):
    """
    The tasks of a batch.
    """

    tasks: list[Task]
    """
    The tasks, in the order of the request.
    """


class BulkPreview(Model):
    """
    What a dry run shows. Nothing was changed.
    """

    matched: int
    """
    The number of tasks that match now, exact.
    """
    sample: list[Task]
    """
    Ten of these tasks at most. None for an API key without `tasks:read`.
    """
    token: str
    """
    Send it within ten minutes to change these tasks.
    """
