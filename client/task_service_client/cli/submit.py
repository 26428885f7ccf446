"""`submit`."""

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from task_service_client.cli import task_types
from task_service_client.cli.answers import read
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

if TYPE_CHECKING:
    from task_service_client import Client

_of_task, _waiting = partial(option, panel=t("The task")), partial(option, panel=t("Waiting"))
Text = str | None
PRIORITIES = ("low", "normal", "high", "critical")
# What the service takes; a header has no space around its value (RFC 9110, section 5.5).
KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def _priorities(incomplete: str) -> list[str]:
    return [each for each in PRIORITIES if each.startswith(incomplete)]


def submit(  # noqa: PLR0917 (typer calls it by names)
    run: Run,
    task: Annotated[str, argument("NAME", "The task, or the end of its name.", task_types.completed)],
    items: Annotated[list[str] | None, argument("[K=V]...", "key=value, key:=JSON, key=@file or key=@-.")] = None,
    wait: Annotated[bool, _waiting("--wait -w", "Wait for its end: exit 1 where it fails.")] = False,
    timeout: Annotated[float | None, _waiting("--timeout", "Wait no longer: exit 124.", "SECONDS", least=0)] = None,
    name: Annotated[Text, _of_task("--name", "A name for people.")] = None,
    task_type: Annotated[Text, _of_task("--type", "For your own grouping.")] = None,
    priority: Annotated[Text, _of_task("--priority", "low, normal, high or critical.", complete=_priorities)] = None,
    delay: Annotated[float | None, _of_task("--delay", "Start so much later.", "SECONDS", least=0)] = None,
    run_at: Annotated[Text, _of_task("--run-at", "Start at such a time: 2026-11-30T08:00Z.", "TIME")] = None,
    expires_at: Annotated[Text, _of_task("--expires-at", "Revoke it unless it has started by then.", "TIME")] = None,
    time_limit: Annotated[float | None, _of_task("--time-limit", "Of one attempt.", "SECONDS")] = None,
    attempts: Annotated[int | None, _of_task("--attempts", "How often it may fail.", "N")] = None,
    tag: Annotated[list[str] | None, _of_task("--tag", "A tag; several times for several.")] = None,
    after: Annotated[list[str] | None, _of_task("--after", "Start once this task has succeeded.", "ID")] = None,
    unique_key: Annotated[Text, _of_task("--unique-key", "One active task of this key at a time.")] = None,
    on_conflict: Annotated[Text, _of_task("--on-conflict", "If the key is taken: reject, return, replace.")] = None,
    limit: Annotated[Text, _of_task("--limit", "The limit that it takes a place of.")] = None,
    limit_key: Annotated[Text, _of_task("--limit-key", "The key of that place.")] = None,
    webhook_url: Annotated[Text, _of_task("--webhook-url", "Is told of its end.", "URL")] = None,
    idempotency_key: Annotated[Text, _of_task("--idempotency-key", "The same key again: the same task.")] = None,
) -> None:  # fmt: skip
    """Create a task, and print its id; with --wait its end.

    `task-service submit long_running_task duration=5 --wait`
    """
    from task_service_client.cli import watch
    from task_service_client.cli.data import write_one, write_values

    if timeout is not None and not wait:
        raise Refused(t("--timeout is the time of --wait. That of the task is --time-limit."))
    if idempotency_key is not None and not KEY.fullmatch(idempotency_key):
        raise Refused(t("--idempotency-key takes printable ASCII, 255 characters at most."))
    fields = {
        "name": name, "task_type": task_type, "priority": priority, "delay_seconds": delay, "run_at": run_at,
        "expires_at": expires_at, "timeout_seconds": time_limit, "max_attempts": attempts, "tags": tag,
        "depends_on": after, "unique_key": unique_key, "on_conflict": on_conflict, "limit": limit,
        "limit_key": limit_key, "webhook_url": webhook_url,
    }  # fmt: skip
    with run.client() as client:
        created = _create(
            run, client, task, items or [], {k: v for k, v in fields.items() if v is not None}, idempotency_key
        )
    if wait:
        watch.until_ended(run, [created["id"]], timeout, known=[created], as_list=False)
    elif run.output == "text" and not run.fields:
        write_values(created, ["id"])
    else:
        write_one(run, created)


def _create(
    run: Run, client: "Client", name: str, items: list[str], fields: dict[str, Any], key: str | None
) -> dict[str, Any]:  # fmt: skip
    from uuid import uuid4

    from task_service_client import ApiError, Task, TaskServiceError
    from task_service_client.cli.values import arguments
    from task_service_client.requests import TASKS, as_body, url_of

    found = task_types.named(task_types.fetched(client, url_of(run.url)), name)
    kwargs = {k: _uploaded(run, client, value) for k, value in arguments(items, found["parameters"]).items()}
    body = as_body(
        found["celery_task_name"], [], kwargs, fields.pop("name", None), fields.pop("task_type", None), fields
    )
    key = key or str(uuid4())
    try:
        answer = client.request("POST", TASKS, json=body, headers={"Idempotency-Key": key})
        created: dict[str, Any] = read(answer, Task)
    except (TaskServiceError, Refused, KeyboardInterrupt, SystemExit) as error:
        if not isinstance(error, ApiError) or not error.is_of_service:
            run.say(t("It is not known whether there is a task. To ask again for the same one:"))
            run.say(f"--idempotency-key {key}")
        raise
    return created


def _uploaded(run: Run, client: "Client", value: Any) -> Any:
    """Return the value with ids in the place of files, which are uploaded."""
    from task_service_client.cli.files import uploaded
    from task_service_client.cli.values import Upload

    if isinstance(value, list):
        return [_uploaded(run, client, each) for each in value]
    return uploaded(run, client, value)["id"] if isinstance(value, Upload) else value
