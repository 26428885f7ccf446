"""Deeds to all tasks of a search: a preview, a question, and the bar of what is done (`POST /tasks/bulk/{deed}`)."""

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer

from task_service_client.cli import exits
from task_service_client.cli.answers import read, shape
from task_service_client.cli.columns import TASKS as COLUMNS
from task_service_client.cli.data import write_one
from task_service_client.cli.exits import Refused
from task_service_client.cli.ids import search_of
from task_service_client.cli.language import t
from task_service_client.cli.run import Run, console

if TYPE_CHECKING:
    from task_service_client import Client

BULK = "/api/v1/tasks/bulk/"
SECONDS, FIRST_SECONDS = 0.5, 0.1
QUESTIONS = {"cancel": "Cancel {count} tasks?", "retry": "Retry {count} tasks?", "delete": "Delete {count} tasks?"}


def do(run: Run, deed: str, query: str, timeout: float | None, *, yes: bool, dry_run: bool) -> None:
    """Show what the search finds, ask, do it, and write the operation once it has ended. Raises Refused, typer.Exit."""
    from task_service_client.models import BulkPreview

    with run.client() as client:
        wanted = search_of(query)
        if not wanted:
            raise Refused(t("An empty search means all tasks: name what is meant, such as status:failed."))
        preview = read(client.request("POST", BULK + deed, json={"filter": wanted, "dry_run": True}), BulkPreview)
        if dry_run:
            write_one(run, {"matched": preview["matched"], "sample": preview["sample"]} if run.output != "text" else
                      {"matched": preview["matched"]})  # fmt: skip
            _show(run, preview)
            return
        _show(run, preview)
        if not preview["matched"]:
            run.say(t("No task matches."))
            return
        if not yes:
            _ask(run, deed, preview["matched"])
        answer = client.request("POST", BULK + deed, json={"token": preview["token"]})
        accepted = read(answer, shape(id=UUID, matched=int))
        ended = _ended(run, client, accepted, timeout)
    write_one(run, ended)
    if ended["failed"] or ended["state"] == "aborted":
        raise typer.Exit(exits.FAILED)


def _show(run: Run, preview: dict[str, Any]) -> None:
    """Show the sample on stderr."""
    sample, matched = preview["sample"], preview["matched"]
    if run.has_bars and sample:
        from task_service_client.cli.table import made

        out = console(of_messages=True)
        out.print(made(sample, COLUMNS, out.width))
    if matched > len(sample):
        run.say(t("… and {count} more", count=matched - len(sample)))


def _ask(run: Run, deed: str, count: int) -> None:
    question = t(QUESTIONS[deed], count=count)
    if not run.can_ask:
        raise Refused(t("{question} There is no terminal to ask on: add --yes.", question=question))
    if not typer.confirm(question, err=True):
        run.say(t("Nothing is done."))
        raise typer.Exit(exits.FAILED)


def _ended(run: Run, client: "Client", accepted: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """Return the operation once it has ended. Raises typer.Exit at Ctrl-C and at the end of the time: it goes on."""
    from task_service_client.models import BulkDeed
    from task_service_client.requests import Deadline

    path = BULK + str(accepted["id"])
    deadline, pause = Deadline(timeout), FIRST_SECONDS
    bar = _Bar(accepted["matched"]) if run.has_bars else nullcontext(lambda _: None)
    try:
        with bar as tell:
            while True:
                state: dict[str, Any] = read(client.request("GET", path), BulkDeed)
                tell(state["done"] + state["failed"] + sum(state["skipped"].values()))
                if state["state"] != "running":
                    return state
                if not deadline.left():
                    raise TimeoutError
                time.sleep(min(pause, deadline.left()))
                pause = SECONDS
    except (KeyboardInterrupt, TimeoutError) as stopped:
        run.say(t("It goes on at the server: {id}", id=accepted["id"]))
        code = exits.TIMEOUT if isinstance(stopped, TimeoutError) else exits.INTERRUPTED
        raise typer.Exit(code) from None


class _Bar:
    """How far an operation is."""

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console(of_messages=True), transient=True)
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Any:
        self._progress.start()
        return lambda done: self._progress.update(self._task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
