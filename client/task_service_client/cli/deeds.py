"""`cancel`, `retry` and `delete`: of tasks by their ids, or of all that a search finds."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused, explained
from task_service_client.cli.ids import checked_ids
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

if TYPE_CHECKING:
    from task_service_client import Client

Ids = Annotated[list[str] | None, argument("[ID]...", "Tasks; - reads ids from stdin.")]
Query = Annotated[str | None, option("--query -q", "All tasks of this search, after a preview.")]
Yes = Annotated[bool, option("--yes -y", "Do it without asking.")]
DryRun = Annotated[bool, option("--dry-run", "Only say what --query finds.")]
Timeout = Annotated[
    float | None, option("--timeout", "Wait no longer for --query: exit 124. It goes on.", "SECONDS", least=0)
]
Deed = Callable[["Client", str], dict[str, Any]]


def cancel(
    run: Run, ids: Ids = None, query: Query = None, yes: Yes = False, dry_run: DryRun = False, timeout: Timeout = None
) -> None:  # fmt: skip
    """Cancel tasks. One that runs is asked to stop."""

    def one(client: "Client", task_id: str) -> dict[str, Any]:
        return client.cancel(task_id).model_dump(mode="json")

    _do(run, "cancel", one, ids, query, timeout, yes=yes, dry_run=dry_run)


def retry(
    run: Run,
    ids: Ids = None,
    query: Query = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    from_start: Annotated[bool, option("--from-start", "Forget the steps that are done.")] = False,
) -> None:  # fmt: skip
    """Run failed or revoked tasks again."""
    if from_start and query is not None:
        raise Refused(t("--from-start goes with ids alone."))

    def one(client: "Client", task_id: str) -> dict[str, Any]:
        return client.retry(task_id, from_start=from_start).model_dump(mode="json")

    _do(run, "retry", one, ids, query, timeout, yes=yes, dry_run=dry_run)


def delete(
    run: Run,
    ids: Ids = None,
    query: Query = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = None,
    force: Annotated[bool, option("--force", "Cancel what has not ended, and delete it then.")] = False,
) -> None:  # fmt: skip
    """Delete ended tasks."""
    if force and query is not None:
        raise Refused(t("--force goes with ids alone: cancel --query first."))

    def one(client: "Client", task_id: str) -> dict[str, Any]:
        client.delete(task_id, force=force)
        return {"id": task_id, "status": "deleted"}

    _do(run, "delete", one, ids, query, timeout, yes=yes, dry_run=dry_run)


def _do(
    run: Run, deed: str, one: Deed, ids: list[str] | None, query: str | None, timeout: float | None, *, yes: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    if (ids is None) == (query is None):
        raise Refused(t("Name tasks by their ids, or by --query."))
    if query is not None:
        from task_service_client.cli.bulk import do

        do(run, deed, query, timeout, yes=yes, dry_run=dry_run)
        return
    if dry_run:
        raise Refused(t("--dry-run goes with --query."))
    with run.client() as client:
        code = _each(run, client, one, checked_ids(ids or []))
    if code:
        raise typer.Exit(code)


def _each(run: Run, client: "Client", one: Deed, ids: list[str]) -> int:
    """Do it to each task, and write what has become of it. A task that refuses does not keep the others from it."""
    from task_service_client import ApiError, NotSignedIn
    from task_service_client.cli.data import write_line, write_list, write_values

    done: list[dict[str, Any]] = []
    code = exits.OK
    for task_id in ids:
        try:
            task = one(client, task_id)
        except NotSignedIn:
            raise
        except ApiError as error:
            refused = explained(error)
            run.say(f"{task_id}: {refused.message if refused else error}")
            code = code or (refused.code if refused else exits.FAILED)
            continue
        done.append(task)
        if run.output == "jsonl":
            write_line(run, task)
        elif run.output == "text":
            write_values(task, run.fields or ("id", "status"))
            if task.get("cancel_requested_at") and task["status"] == "running" and sys.stderr.isatty():
                run.say(t("It was asked to stop."))
    if run.output == "json":
        write_list(run, done, ())
    return code
