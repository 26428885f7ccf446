"""What all commands have: the options of the server and of the output, and what becomes of their errors."""

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.run import FORMATS, Run
from task_service_client.cli.texts import safe

Body = Callable[..., None]
CONTEXT = {"help_option_names": ["-h", "--help"]}
# A wait of the system takes no more than some hundred years.
MOST_SECONDS = 1e9
_PANEL = t("Server and output")


def profile_names(incomplete: str) -> list[str]:
    """Complete the name of a profile. It never raises: what it prints would be in the midst of a command line."""
    from task_service_client import profiles

    try:
        return [name for name in profiles.names() if name.startswith(incomplete) and name.isprintable()]
    except Exception:  # noqa: BLE001 (a damaged file of profiles, or one that may not be read)
        return []


def _formats(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


def _checked(value: str | None) -> str | None:
    if value is not None and value not in FORMATS:
        raise typer.BadParameter(t("one of {values}", values=", ".join(FORMATS)))
    return value


Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FORMAT", callback=_checked, autocompletion=_formats, rich_help_panel=_PANEL,
        help=t("text (the default), json, or jsonl: an object a line."),
    ),
]  # fmt: skip
Fields = Annotated[
    str | None,
    typer.Option(
        "--fields", metavar="A,B,…", rich_help_panel=_PANEL, help=t("Only these fields, such as id,status,error.type.")
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", autocompletion=profile_names, rich_help_panel=_PANEL,
        help=t("The profile that `login` saved. Default: the last one."),
    ),
]  # fmt: skip
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", rich_help_panel=_PANEL, help=t("The server. Default: that of the profile.")),
]
COMMON = {"output": Output, "fields": Fields, "profile": ProfileName, "url": Url}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def run_of(context: typer.Context, given: dict[str, str | None]) -> Run:
    """Return what a command runs with: its own options, else those before its name."""
    run: Run = context.obj or Run()
    context.obj = run = run.with_options(**given)
    return run


def as_command(body: Body) -> Body:
    """Return a body, which takes a Run first, as a function for typer with the common options."""
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
    common = {name: kind for name, kind in COMMON.items() if name not in {each.name for each in own}}
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(each.replace(kind=_KEYWORD) for each in own),
        *(inspect.Parameter(name, _KEYWORD, default=None, annotation=kind) for name, kind in common.items()),
    ]

    @wraps(body)
    def command(context: typer.Context, **values: Any) -> None:
        run = run_of(context, {name: values.pop(name) if name in common else None for name in COMMON})

        def call() -> None:
            _check_numbers(values)
            body(run, **values)

        said = guarded(call)
        if said:
            raise typer.Exit(said)

    del command.__wrapped__  # typer would read the body's signature
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _check_numbers(values: Mapping[str, Any]) -> None:
    """Raise Refused for a number that nothing can be counted with: nan, inf, and what is too large for the system."""
    for name, value in values.items():
        most = MOST_SECONDS if isinstance(value, float) else sys.maxsize
        if isinstance(value, int | float) and not abs(value) <= most:
            raise Refused(t("{option} does not take {value}.", option=f"--{name.replace('_', '-')}", value=value))


def guarded(call: Callable[[], None]) -> int:
    """Call, and return the exit code. An error that is expected is one message on stderr."""
    try:
        call()
    except typer.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)  # behind the ^C
        return exits.INTERRUPTED
    except BrokenPipeError:
        raise  # typer ends the program in silence
    except Exception as error:
        refused = exits.explained(error)
        if refused is None:
            raise
        print(safe(refused.message), file=sys.stderr)
        return refused.code
    return exits.OK


def add(app: typer.Typer, name: str, body: Body, summary: str) -> None:
    """Add a command. Its help is the summary, and what the docstring of its body says besides."""
    _, _, more = (inspect.getdoc(body) or "").partition("\n\n")
    app.command(name, help="\n\n".join([t(summary), *([t(more)] if more else [])]))(as_command(body))
