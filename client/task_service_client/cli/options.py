"""Options and arguments of commands, with their help in the language of the reader."""

from collections.abc import Callable
from typing import Any

import typer

from task_service_client.cli.language import t

Complete = Callable[[str], Any]


def option(
    names: str, text: str, metavar: str | None = None, *, panel: str | None = None, complete: Complete | None = None,
    least: float | None = None, **more: Any,
) -> Any:  # fmt: skip
    """Return an option. `names` are its names, with spaces between; `least` is the smallest value."""
    return typer.Option(
        *names.split(), help=t(text), metavar=metavar, rich_help_panel=panel, autocompletion=complete, min=least, **more
    )


def argument(metavar: str, text: str, complete: Complete | None = None) -> Any:
    """Return an argument."""
    return typer.Argument(metavar=metavar, help=t(text), autocompletion=complete)
