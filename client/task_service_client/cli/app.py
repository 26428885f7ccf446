"""The application of the command line. It imports no command's own needs: help and completion are quick."""

from typing import Annotated, Any

import typer

from task_service_client.cli import deeds, login, stats, submit, tasks, top, watch
from task_service_client.cli.command import Body, Fields, Output, ProfileName, Url, add, as_command, run_of
from task_service_client.cli.language import t
from task_service_client.cli.options import option
from task_service_client.cli.resources import RESOURCES, Resource, commands
from task_service_client.version import __version__

CONTEXT = {"help_option_names": ["-h", "--help"]}
_ACCESS, _TASKS, _SERVICE = t("Access"), t("Tasks"), t("The service")


def _print(asked: bool) -> None:
    if asked:
        print(f"task-service {__version__}")
        raise typer.Exit


def root(  # typer reads the options from the signature
    context: typer.Context,
    output: Output = None,
    fields: Fields = None,
    profile: ProfileName = None,
    url: Url = None,
    _version: Annotated[bool, option("--version", "Print the version.", callback=_print, is_eager=True)] = False,
) -> None:  # fmt: skip
    run_of(context, {"output": output, "fields": fields, "profile": profile, "url": url})


def application() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(
        name="task-service", no_args_is_help=True, pretty_exceptions_enable=False, context_settings=CONTEXT,
        rich_markup_mode="rich", help=t("Tasks of a task service: submit, watch and steer them."),
    )  # fmt: skip
    app.callback()(root)
    panels: tuple[tuple[str, dict[str, Body]], ...] = (
        (_ACCESS, {"login": login.login, "logout": login.logout}),
        (_TASKS, {
            "submit": submit.submit, "watch": watch.watch, "ls": tasks.ls, "show": tasks.show, "top": top.top,
            "logs": tasks.logs, "output": tasks.output, "cancel": deeds.cancel, "retry": deeds.retry,
            "delete": deeds.delete,
        }),
    )  # fmt: skip
    for panel, bodies in panels:
        for name, body in bodies.items():
            add(app, name, body, panel=panel)
    for name, resource in RESOURCES.items():
        app.add_typer(_group(resource), name=name, rich_help_panel=_SERVICE)
    add(app, "stats", stats.stats, panel=_SERVICE)
    return app


def _group(resource: Resource) -> typer.Typer:
    """Return the commands of a resource. Without one of them it is listed."""
    group = typer.Typer(help=t(resource.summary), invoke_without_command=True, context_settings=CONTEXT)
    bodies = commands(resource)
    ls = as_command(bodies["ls"][0])

    def listed(
        context: typer.Context,
        output: Output = None,
        fields: Fields = None,
        profile: ProfileName = None,
        url: Url = None,
    ) -> None:
        given: dict[str, Any] = {"output": output, "fields": fields, "profile": profile, "url": url}
        run_of(context, given)
        if context.invoked_subcommand is None:
            ls(context, **given)

    group.callback()(listed)
    for name, (body, summary) in bodies.items():
        add(group, name, body, summary)
    return group
