"""`watch`, and the wait of `submit --wait`."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused
from task_service_client.cli.ids import checked_ids, found_ids
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run
from task_service_client.errors import TaskServiceError

Task = dict[str, Any]
MOST_SHOWN, NOT_FOUND = 5, 404


def watch(
    run: Run,
    ids: Annotated[list[str] | None, argument("[ID]...", "Tasks; - reads ids from stdin.")] = None,
    query: Annotated[str | None, option("--query -q", "The tasks that this search finds now.")] = None,
    timeout: Annotated[float | None, option("--timeout", "Watch no longer: exit 124.", "SECONDS", least=0)] = None,
) -> None:  # fmt: skip
    """Show tasks until they have ended.

    Exit 1 where one has failed or was revoked. Ctrl-C leaves them running.
    """
    if (ids is None) == (query is None):
        raise Refused(t("Name tasks by their ids, or by --query."))
    if query is not None:
        with run.client() as client:
            until_ended(run, found_ids(client, query), timeout)
    else:
        until_ended(run, checked_ids(ids or []), timeout)


def until_ended(
    run: Run, ids: Sequence[str], timeout: float | None, *, known: Sequence[Task] = (), as_list: bool = True
) -> None:
    """Show tasks until they have ended, and write their ends to stdout. Raises typer.Exit where one has failed."""
    ids = [*dict.fromkeys(ids)]
    ends = _Ends(run, as_list=as_list)
    try:
        _follow(run, ids, timeout, known, ends)
    except (KeyboardInterrupt, TimeoutError) as stopped:
        ends.finish()
        left = [each for each in ids if each not in ends.tasks]
        _say_left(run, left, timeout if isinstance(stopped, TimeoutError) else None)
        raise typer.Exit(exits.TIMEOUT if isinstance(stopped, TimeoutError) else exits.INTERRUPTED) from None
    except TaskServiceError as error:
        ends.finish()
        left = [each for each in ids if each not in ends.tasks]
        if left and getattr(error, "status", None) != NOT_FOUND:
            run.say(t("Watching has failed. The end is not known of: {count}.", count=len(left)))
            _say_commands(run, left)
        raise
    ends.finish()
    for missing in (each for each in ids if each not in ends.tasks):
        run.say(t("There is no task {name}.", name=missing))
    if [task["status"] for task in ends.tasks.values()] != ["succeeded"] * len(ids):
        raise typer.Exit(exits.FAILED)


class _Ends:
    """The tasks that have ended. Their lines come at once, unless stdout shares its terminal with the bars."""

    def __init__(self, run: Run, *, as_list: bool) -> None:
        self.tasks: dict[str, Task] = {}
        self._run, self._as_list = run, as_list
        self._is_held = run.has_bars and sys.stdout.isatty()

    def take(self, task: Task) -> None:
        self.tasks[task["id"]] = task
        if not self._is_held:
            self._write(task)

    def finish(self) -> None:
        from task_service_client.cli.data import write_list, write_one

        if self._is_held:
            for task in self.tasks.values():
                self._write(task)
        if self._run.output == "json":
            ended = [*self.tasks.values()]
            if self._as_list:
                write_list(self._run, ended, ())
            elif ended:
                write_one(self._run, ended[0])

    def _write(self, task: Task) -> None:
        from task_service_client.cli.data import write_line

        if self._run.output == "jsonl":
            write_line(self._run, task)
        elif self._run.output == "text":
            _write_end(self._run, task)


def _write_end(run: Run, task: Task) -> None:
    """Write the end of a task as one line: its id, its state, and its result, or why there is none."""
    from task_service_client.cli.data import write_values
    from task_service_client.cli.run import console
    from task_service_client.cli.table import status
    from task_service_client.cli.texts import compact, one_line

    error = task["error"]
    said = f"{error['type']}: {error['message']}" if error else task["status_reason"] or compact(task["result"])
    if run.fields:
        write_values(task, run.fields)
    elif sys.stdout.isatty():
        line = status(task["status"])
        line.pad_right(max(0, 9 - len(line)))
        console().print(task["id"], line, one_line(said), soft_wrap=True)
    else:
        write_values({"id": task["id"], "status": task["status"], "said": said}, ("id", "status", "said"))


def _follow(run: Run, ids: Sequence[str], timeout: float | None, known: Sequence[Task], ends: _Ends) -> None:
    import asyncio

    from task_service_client.requests import ENDED

    board, bars = _board(run, ids, known)

    async def follow() -> None:
        async with run.async_client() as client, asyncio.timeout(timeout):
            async for seen in client.watch(*ids):
                task = seen.model_dump(mode="json")
                if board is not None:
                    board.take(task)
                if task["status"] in ENDED:
                    ends.take(task)

    with bars:
        asyncio.run(follow())


def _board(run: Run, ids: Sequence[str], known: Sequence[Task]) -> tuple[Any, Any]:
    """Return what shows the tasks, and its context; both do nothing where stderr is no terminal."""
    if not run.has_bars:
        return None, nullcontext()
    from task_service_client.cli.bars import Board, shown

    board = Board(ids)
    for task in known:
        board.take(task)
    return board, shown(board)


def _say_left(run: Run, left: Sequence[str], timeout: float | None) -> None:
    if timeout is not None:
        run.say(t("The {seconds} seconds are over. Not ended: {count}.", seconds=f"{timeout:g}", count=len(left)))
    else:
        run.say(t("Stopped watching. The tasks run on: {count}.", count=len(left)))
    _say_commands(run, left)


def _say_commands(run: Run, left: Sequence[str]) -> None:
    shown = " ".join(left[:MOST_SHOWN]) + (" …" if len(left) > MOST_SHOWN else "")
    run.say(f"task-service watch {shown}")
    run.say(f"task-service cancel {shown}")
