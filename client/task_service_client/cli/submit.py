"""`submit`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from task_service_client.cli import task_types
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.run import Run
from task_service_client.cli.search import PRIORITIES

if TYPE_CHECKING:
    from task_service_client import Client

_TASK, _WAIT = t("The task"), t("Waiting")


def _priorities(incomplete: str) -> list[str]:
    return [each for each in PRIORITIES if each.startswith(incomplete)]


def submit(
    run: Run,
    task: Annotated[str, typer.Argument(metavar="NAME", autocompletion=task_types.completed, help=t("The task, or the last part of its name."))],
    items: Annotated[list[str] | None, typer.Argument(metavar="[K=V]...", help=t("Arguments: key=value, key:=JSON, key=@file."))] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help=t("Wait for its end: exit 1 where it fails."), rich_help_panel=_WAIT)] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help=t("Wait no longer: exit 124. The task runs on."), rich_help_panel=_WAIT)] = None,
    name: Annotated[str | None, typer.Option("--name", help=t("A name for people."), rich_help_panel=_TASK)] = None,
    task_type: Annotated[str | None, typer.Option("--type", help=t("For your own grouping."), rich_help_panel=_TASK)] = None,
    priority: Annotated[str | None, typer.Option("--priority", autocompletion=_priorities, help=t("low, normal, high or critical."), rich_help_panel=_TASK)] = None,
    delay: Annotated[float | None, typer.Option("--delay", metavar="SECONDS", min=0, help=t("Start so much later."), rich_help_panel=_TASK)] = None,
    run_at: Annotated[str | None, typer.Option("--run-at", metavar="TIME", help=t("Start at this time, such as 2026-11-30T08:00Z."), rich_help_panel=_TASK)] = None,
    expires_at: Annotated[str | None, typer.Option("--expires-at", metavar="TIME", help=t("Revoke it where it has not started by then."), rich_help_panel=_TASK)] = None,
    time_limit: Annotated[float | None, typer.Option("--time-limit", metavar="SECONDS", help=t("Of one attempt."), rich_help_panel=_TASK)] = None,
    attempts: Annotated[int | None, typer.Option("--attempts", metavar="N", help=t("How often it may fail."), rich_help_panel=_TASK)] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help=t("A tag; several times for several."), rich_help_panel=_TASK)] = None,
    after: Annotated[list[str] | None, typer.Option("--after", metavar="ID", help=t("Start once this task has succeeded."), rich_help_panel=_TASK)] = None,
    unique_key: Annotated[str | None, typer.Option("--unique-key", help=t("One pending or running task of this key."), rich_help_panel=_TASK)] = None,
    on_conflict: Annotated[str | None, typer.Option("--on-conflict", help=t("Where the key is taken: reject, return or replace."), rich_help_panel=_TASK)] = None,
    limit: Annotated[str | None, typer.Option("--limit", help=t("The limit that it takes a place of."), rich_help_panel=_TASK)] = None,
    limit_key: Annotated[str | None, typer.Option("--limit-key", help=t("The key of that place."), rich_help_panel=_TASK)] = None,
    webhook_url: Annotated[str | None, typer.Option("--webhook-url", metavar="URL", help=t("Is told of its end."), rich_help_panel=_TASK)] = None,
    idempotency_key: Annotated[str | None, typer.Option("--idempotency-key", help=t("The same key again is the same task."), rich_help_panel=_TASK)] = None,
) -> None:  # fmt: skip
    """Create a task, and print its id; with --wait its end.

    `task-service submit long_running_task duration=5 --wait`
    """
    from task_service_client.cli import watch

    if timeout is not None and not wait:
        raise Refused(t("--timeout is the time of --wait. That of the task is --time-limit."))
    fields = {
        "name": name, "task_type": task_type, "priority": priority, "delay_seconds": delay, "run_at": run_at,
        "expires_at": expires_at, "timeout_seconds": time_limit, "max_attempts": attempts, "tags": tag, "depends_on": after,
        "unique_key": unique_key, "on_conflict": on_conflict, "limit": limit, "limit_key": limit_key, "webhook_url": webhook_url,
    }  # fmt: skip
    with run.client() as client:
        created = _create(run, client, task, items or [], {k: v for k, v in fields.items() if v is not None}, idempotency_key)
    if wait:
        watch.until_ended(run, [created["id"]], timeout, known=[created], as_list=False)
    elif run.output == "text" and not run.fields:
        print(created["id"], flush=True)
    else:
        from task_service_client.cli.data import write_one

        write_one(run, created)


def _create(
    run: Run, client: "Client", name: str, items: list[str], fields: dict[str, Any], key: str | None
) -> dict[str, Any]:  # fmt: skip
    from uuid import uuid4

    from task_service_client.cli.values import arguments
    from task_service_client.requests import TASKS, as_body, url_of

    found = task_types.named(task_types.fetched(client, url_of(run.url)), name)
    kwargs = {key: _uploaded(run, client, value) for key, value in arguments(items, found["parameters"]).items()}
    body = as_body(
        found["celery_task_name"], [], kwargs, fields.pop("name", None), fields.pop("task_type", None), fields
    )
    headers = {"Idempotency-Key": key or str(uuid4())}
    created: dict[str, Any] = client.request("POST", TASKS, json=body, headers=headers).json()
    return created


def _uploaded(run: Run, client: "Client", value: Any) -> Any:
    """Return the value with ids in the place of files, which are uploaded."""
    from task_service_client.cli.files import uploaded
    from task_service_client.cli.values import Upload

    if isinstance(value, list):
        return [_uploaded(run, client, each) for each in value]
    return uploaded(run, client, value)["id"] if isinstance(value, Upload) else value
