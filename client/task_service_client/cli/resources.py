"""The other resources of the service: each is its path, its columns, and what can be done to one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

import typer

from task_service_client.cli import columns, files, keys
from task_service_client.cli.answers import read, rows, shape
from task_service_client.cli.columns import Column
from task_service_client.cli.command import CONTEXT, Fields, Output, ProfileName, Url, add, as_command, run_of
from task_service_client.cli.data import write_each, write_list, write_values
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

API = "/api/v1/"
Body = Callable[..., None]


@dataclass(frozen=True)
class Deed:
    """What is done to one object: a request below its path, and its help."""

    summary: str
    method: str = "POST"
    path: str = ""
    # An option, which is the member of the body that it fills, and its help; None for a request without a body.
    option: str | None = None
    option_help: str = ""
    default: str | None = None


@dataclass(frozen=True)
class Resource:
    """A kind of object. `key` is the member that names one; `own` are commands with code of their own."""

    path: str
    columns: Sequence[Column]
    ls: str
    key: str = "id"
    show: str | None = None
    deeds: Mapping[str, Deed] = field(default_factory=dict)
    own: Mapping[str, tuple[Body, str]] = field(default_factory=dict)


RESOURCES = {
    "files": Resource(
        "files/", columns.FILES, "List files.",
        deeds={"rm": Deed("Delete files.", "DELETE")},
        own={
            "ls": (files.ls, "List files, the newest first."),
            "upload": (files.upload, "Upload files, and print their ids."),
            "download": (files.download, "Download a file or an artifact, and print its path."),
        },
    ),
    "schedules": Resource(
        "schedules/", columns.SCHEDULES, "List schedules.", show="Show schedules.",
        deeds={
            "pause": Deed("Pause schedules.", path="/pause"),
            "resume": Deed("Resume schedules.", path="/resume"),
            "trigger": Deed("Create a task of a schedule now.", path="/trigger"),
            "rm": Deed("Delete schedules.", "DELETE"),
        },
    ),
    "workflows": Resource(
        "workflows/", columns.WORKFLOWS, "List workflows, the newest first.",
        show="Show workflows.",
        deeds={
            "cancel": Deed("Cancel workflows.", path="/cancel"),
            "retry": Deed("Run again what failed or was revoked.", path="/retry"),
            "rm": Deed("Delete ended workflows with their tasks.", "DELETE"),
        },
    ),
    "queues": Resource(
        "queues/", columns.QUEUES, "List queues.", key="name",
        deeds={
            "pause": Deed(
                "Start nothing more of queues.", path="/pause", option="reason", option_help="Shown to all users.",
                default="paused from the command line",
            ),
            "resume": Deed("Resume queues.", path="/resume"),
        },
    ),
    "workers": Resource(
        "workers/", columns.WORKERS, "List workers.", key="name",
        deeds={"drain": Deed("Let workers finish what they run, and leave.", path="/drain")},
    ),
    "limits": Resource(
        "limits/", columns.LIMITS, "List limits.", key="name"
    ),
    "webhooks": Resource(
        "webhooks/", columns.WEBHOOKS, "List webhooks.",
        deeds={"test": Deed("Send a test event.", path="/test")},
    ),
    "errors": Resource(
        "errors/", columns.ERRORS, "List groups of failures.", key="fingerprint",
        show="Show groups of failures.",
        deeds={
            "resolve": Deed("Mark groups as resolved; a new failure opens them again.", path="/resolve"),
            "ignore": Deed(
                "Ignore groups.", path="/ignore", option="until",
                option_help="Until this time; without it until they are reopened.",
            ),
            "reopen": Deed("Open groups again.", path="/reopen"),
        },
    ),
    "types": Resource("tasks/types", columns.TYPES, "List the tasks that can be submitted.", key="celery_task_name"),
    "keys": Resource(
        "auth/api-keys", columns.KEYS, "List your API keys.",
        deeds={"rm": Deed("Revoke API keys.", "DELETE")},
        own={"create": (keys.create, "Create an API key, and print it: it is shown this once.")},
    ),
    "users": Resource("users/", columns.USERS, "List users."),
}  # fmt: skip


def commands(resource: Resource) -> dict[str, tuple[Body, str]]:
    """Return the commands of a resource by name, with their help."""
    made = {"ls": (_ls(resource), resource.ls)}
    if resource.show is not None:
        made["show"] = (_show(resource), resource.show)
    return (
        made | {**resource.own} | {name: (_deed(resource, deed), deed.summary) for name, deed in resource.deeds.items()}
    )


def group(resource: Resource, summary: str) -> typer.Typer:
    """Return the commands of a resource. Without one of them it is listed."""
    app = typer.Typer(
        help=t(summary), invoke_without_command=True, add_completion=False, pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )  # fmt: skip
    bodies = commands(resource)
    ls = as_command(bodies["ls"][0])

    def listed(
        context: typer.Context,
        output: Output = None,
        fields: Fields = None,
        profile: ProfileName = None,
        url: Url = None,
    ) -> None:
        given: dict[str, str | None] = {"output": output, "fields": fields, "profile": profile, "url": url}
        run_of(context, given)
        if context.invoked_subcommand is None:
            ls(context, **given)

    app.callback()(listed)
    for name, (body, about) in bodies.items():
        add(app, name, body, about)
    return app


def _path(resource: Resource, name: str) -> str:
    return f"{API}{resource.path.rstrip('/')}/{quote(name, safe='@')}"


def _form(resource: Resource) -> Any:
    return shape(**{resource.key: str})


def _ls(resource: Resource) -> Body:
    def ls(run: Run) -> None:
        with run.client() as client:
            count = write_list(run, rows(client, API + resource.path, _form(resource)), resource.columns)
        if count == 0 and run.output == "text":
            run.say(t("There are none."))

    return ls


def _names(resource: Resource) -> Any:
    return Annotated[list[str], argument(f"{resource.key.upper()}...", "Which.")]


def _show(resource: Resource) -> Body:
    def show(run: Run, names: _names(resource)) -> None:  # type: ignore[valid-type]
        with run.client() as client:
            write_each(run, [read(client.request("GET", _path(resource, name)), _form(resource)) for name in names])

    return show


def _deed(resource: Resource, deed: Deed) -> Body:
    def call(run: Run, names: Sequence[str], body: dict[str, str] | None) -> None:
        found: list[dict[str, Any]] = []
        with run.client() as client:
            for name in names:
                answer = client.request(deed.method, _path(resource, name) + deed.path, json=body)
                found.append(read(answer, _form(resource)) if answer.content else {resource.key: name})
                if run.output == "text" and not run.fields:
                    write_values({"name": found[-1].get(resource.key, name)}, ["name"])
        if run.output != "text" or run.fields:
            write_each(run, found)

    if deed.option is None:

        def plain(run: Run, names: _names(resource)) -> None:  # type: ignore[valid-type]
            call(run, names, None)

        return plain
    named = Annotated[str | None, option(f"--{deed.option}", deed.option_help)]

    def with_option(run: Run, names: _names(resource), value: named = deed.default) -> None:  # type: ignore[valid-type]
        call(run, names, {str(deed.option): value} if value is not None else {})

    return with_option
