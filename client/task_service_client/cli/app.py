"""The application: the names of all commands, of which the one that is asked for is built alone.

So help and completion are quick: they import no command.
"""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from task_service_client.cli.command import CONTEXT, Fields, Output, ProfileName, Url, add, run_of
from task_service_client.cli.language import t
from task_service_client.cli.options import option
from task_service_client.version import __version__

# Each command's function, in the module before it, and its help; of resources (`resources.RESOURCES`) the help.
ACCESS = {
    "login": ("login.login", "Sign in to a server, and keep that as a profile."),
    "logout": ("login.logout", "End the login of a profile, and forget it."),
}
TASKS = {
    "submit": ("submit.submit", "Create a task, and print its id; with --wait its end."),
    "watch": ("watch.watch", "Show tasks as they run, until all have ended."),
    "ls": ("tasks.ls", "List tasks, the newest first."),
    "show": ("tasks.show", "Show tasks with all their fields."),
    "top": ("top.top", "Show queues, workers and running tasks, live."),
    "logs": ("tasks.logs", "Print the log lines of a task."),
    "output": ("tasks.output", "Print what a task has emitted."),
    "cancel": ("deeds.cancel", "Cancel tasks. One that runs is asked to stop."),
    "retry": ("deeds.retry", "Run failed or revoked tasks again."),
    "delete": ("deeds.delete", "Delete ended tasks."),
}
SERVICE = {
    "files": ("", "What tasks read and save."),
    "schedules": ("", "Tasks again and again."),
    "workflows": ("", "Tasks one after the other."),
    "queues": ("", "What waits where."),
    "workers": ("", "What runs the tasks."),
    "limits": ("", "How many run at once, or start within a time."),
    "webhooks": ("", "Who is told of what."),
    "stats": ("stats.stats", "Count the tasks of a window by their type, queue or priority."),
    "errors": ("", "Failures in groups."),
    "types": ("", "What can be submitted."),
    "keys": ("", "API keys for machines."),
    "users": ("", "Who may sign in; for administrators."),
}
PANELS = {"Access": ACCESS, "Tasks": TASKS, "The service": SERVICE}


class _Commands(TyperGroup):
    """Knows the names of the commands and their help, and builds one once it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {
            name: TyperCommand(name, help=t(summary), rich_help_panel=t(panel))
            for panel, commands in PANELS.items()
            for name, (_, summary) in commands.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else built(name), rest


def built(name: str) -> Any:
    """Return the command, or the commands of the resource, of this name."""
    function, summary = {**ACCESS, **TASKS, **SERVICE}[name]
    if not function:
        from task_service_client.cli.resources import RESOURCES, group

        return typer.main.get_command(group(RESOURCES[name], summary))
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=CONTEXT)
    module, _, attribute = function.partition(".")
    add(app, name, getattr(import_module(f"task_service_client.cli.{module}"), attribute), summary)
    return typer.main.get_command(app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"task-service {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    output: Output = None,
    fields: Fields = None,
    profile: ProfileName = None,
    url: Url = None,
    _version: Annotated[
        bool, option("--version", "Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:  # fmt: skip
    run_of(context, {"output": output, "fields": fields, "profile": profile, "url": url})


def application() -> typer.Typer:
    app = typer.Typer(
        cls=_Commands, name="task-service", no_args_is_help=True, pretty_exceptions_enable=False,
        context_settings=CONTEXT, help=t("Tasks of a task service: submit, watch and steer them."),
    )  # fmt: skip
    app.callback()(_root)
    return app
