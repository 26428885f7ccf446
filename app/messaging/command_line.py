"""`python -m app.messaging.command_line worker …`: Celery's command with the same options, and less imported.

`celery -A app.celery_app worker` imports all commands of Celery and of its plugins first, among them a shell for the
terminal (prompt_toolkit): a sixth of a worker's start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import celery.__main__
import click

APPLICATION = "app.celery_app"


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Have an import of this package fail, as where it is not installed."""
    kept = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
        if kept is not None:
            sys.modules[package] = kept


# Celery's commands work without it too: it colours what `celery inspect` prints, and no part of the service does that.
with _without("pygments"):
    from celery.bin.base import CLIContext


class _Parts(click.Group):
    """Celery's commands that run a part of the service, each imported when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return ["beat", "worker"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Any:
        return (
            getattr(import_module(f"celery.bin.{cmd_name}"), cmd_name) if cmd_name in self.list_commands(ctx) else None
        )


@click.group(cls=_Parts)
@click.option("-q", "--quiet", is_flag=True)
@click.option("-C", "--no-color", is_flag=True, envvar="NO_COLOR")
@click.pass_context
def parts(context: click.Context, *, quiet: bool, no_color: bool) -> None:
    """Run a part of the service on Celery."""
    application = import_module(APPLICATION).celery_app
    context.obj = CLIContext(app=application, no_color=no_color, workdir=None, quiet=quiet)


def main(words: list[str]) -> None:
    """Run `[--quiet] worker OPTIONS` or `[--quiet] beat OPTIONS`, and end the process as Celery ends it."""
    # Celery reads them for the pool, for --detach, and to start itself anew.
    sys.argv = [celery.__main__.__file__, "-A", APPLICATION, *words]
    celery.maybe_patch_concurrency()
    parts(words, prog_name="celery", auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main(sys.argv[1:])
