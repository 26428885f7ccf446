"""Commands of the service: `python -m app`, or `task-service-server` where the package is installed.

Each command imports what it needs as it runs: Alembic, Celery and all services take a second and a half together, and
`serve`, `worker` and `beat` need none of them.
"""

import argparse
import gc
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from app.core.process_start import GC_THRESHOLDS
from app.launcher.options import DEFAULT_PORT, api_command
from app.launcher.venv import replace_process

P = ParamSpec("P")
INTERRUPTED = 130


class _Commands(TyperGroup):
    """The commands below, and in the help those of `task-service`, which `main` hands over before."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, for the help."""
        self._add_those_of_client()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find a command. A misspelt one is compared with all names."""
        if args[0] not in self.commands:
            self._add_those_of_client()
        return super().resolve_command(ctx, args)

    def _add_those_of_client(self) -> None:
        self.commands = {**self.commands, **_commands_of_client()}


def _commands_of_client() -> dict[str, TyperCommand]:
    """Return the commands of `task-service` with their help; none where task-service-client is not installed."""
    try:
        from task_service_client.cli.app import PANELS
        from task_service_client.cli.language import t
    except ModuleNotFoundError:
        return {}
    return {
        name: TyperCommand(name, help=t(summary), rich_help_panel=f"task-service: {t(panel)}")
        for panel, commands in PANELS.items()
        for name, (_, summary) in commands.items()
    }


cli = typer.Typer(
    name="task-service-server",
    cls=_Commands,
    help="Commands of the task service.",
    epilog="The commands of task-service are here where task-service-client is installed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# What a command does not know itself goes to the program that it starts, in the order in which it was written.
PASSES_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
# Docker and systemd wait for ten seconds by default, or longer.
GRACE_SECONDS = 10


def one_line_errors(body: Callable[P, None]) -> Callable[P, None]:
    """Return a command whose expected errors are one line each on stderr, and exit code 1."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        from app.core.config import ConfigurationError
        from app.errors import ServiceError

        try:
            body(*args, **kwargs)
        except ConfigurationError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        except (ServiceError, SQLAlchemyError) as error:
            # The first line of a database error is the server's message; the statement follows.
            typer.echo(f"{body.__name__.replace('_', '-')}: {str(error).partition(chr(10))[0]}", err=True)
            raise typer.Exit(1) from None

    return run


@cli.command(context_settings=PASSES_ON)
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option(min=1, help="API processes.")] = 1,
) -> None:
    """Run the API with uvicorn, as docs/deployment.md does. All other options are uvicorn's."""
    options = argparse.Namespace(host=host, api_workers=workers)
    _run_module([*api_command(options, port, grace=GRACE_SECONDS), *context.args])


@cli.command(context_settings=PASSES_ON, add_help_option=False)
def worker(context: typer.Context) -> None:
    """Run a worker: `celery -A app.celery_app worker` with the same options."""
    _run_module(["app.messaging.command_line", "worker", *context.args])


@cli.command(context_settings=PASSES_ON, add_help_option=False)
def beat(context: typer.Context) -> None:
    """Run beat: `celery -A app.celery_app beat` with the same options."""
    _run_module(["app.messaging.command_line", "beat", *context.args])


def _run_module(words: list[str]) -> None:
    """Run the module in the place of this process, which would be run anew in each API process."""
    raise typer.Exit(replace_process([sys.executable, "-m", *words]))


@cli.command()
@one_line_errors
def migrate() -> None:
    """Bring the database of DATABASE_URL to the newest schema, as `alembic upgrade head` does in a checkout."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    from app.core.config import get_settings
    from app.errors import ServiceError

    get_settings()  # Alembic's environment would end the process without a word of what is wrong
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ServiceError(str(error)) from None


@cli.command()
@one_line_errors
def grant(role: Annotated[str, typer.Argument(help="The role of API, workers and beat.")]) -> None:
    """Let ROLE run the service on the tables of DATABASE_URL, which another role owns. Run it after each migration."""
    from app.core.config import get_settings
    from app.db.session import engine
    from app.db.sql import roles

    get_settings()
    with engine().begin() as connection:
        roles.grant_to_service(connection, role)


@cli.command()
@one_line_errors
def create_admin() -> None:
    """Create the administrator that FIRST_ADMIN_* names. Prints `created`, or `exists` if the name is taken."""
    from app.core.config import get_settings
    from app.db.session import SessionLocal
    from app.errors import InvalidInput
    from app.services.accounts.auth_service import check_first_admin_password
    from app.services.user_service import user_service

    settings = get_settings()
    if settings.first_admin_username is None or settings.first_admin_password is None:
        raise InvalidInput("set FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD")
    check_first_admin_password(settings)
    with SessionLocal() as db:
        created = user_service.ensure_first_admin(
            db,
            settings.first_admin_username,
            settings.first_admin_password.get_secret_value(),
            settings.first_admin_email,
        )
    typer.echo("created" if created else "exists")


@cli.command()
@one_line_errors
def renew_encryption() -> None:
    """Encrypt with SECRET_KEY the secrets that a key of SECRET_KEY_PREVIOUS has encrypted. Prints their number."""
    from app.db.session import SessionLocal
    from app.services.accounts.totp_service import totp_service
    from app.services.webhooks.service import webhook_service

    with SessionLocal() as db:
        typer.echo(totp_service.renew_encryption(db) + webhook_service.renew_encryption(db))


@cli.command()
@one_line_errors
def check() -> None:
    """Read the settings and all tasks. Prints what is wrong, a line each, and exits with 1 if a task is.

    A setting that is probably misspelt, and a weak SECRET_KEY in development, are warnings.
    """
    from app.catalogue import read_tasks, tasks_kept_out
    from app.core.config import get_settings, setting_warnings
    from app.messaging.loader import check_task_modules
    from app.services.execution.claims import check_queue_shares

    settings = get_settings()
    for line in setting_warnings(settings):
        typer.echo(line, err=True)
    check_task_modules(settings)
    logging.disable(logging.ERROR)  # they are printed below
    found, findings = read_tasks()
    logging.disable(logging.NOTSET)
    for finding in findings:
        typer.echo(finding)
    check_queue_shares(settings.queue_shares)
    closed = {name: kind.missing_settings(settings) for name, kind in found.items()}
    for name, missing in closed.items():
        if missing:
            typer.echo(f"{name} cannot be created until {' and '.join(missing)} are set", err=True)
    for name in tasks_kept_out():
        typer.echo(f"{name} is not in the catalogue: it has catalogue=False, and runs by .delay() alone", err=True)
    for name in ("database_url", "celery_broker_url", "secret_key"):
        if getattr(settings, name) is None:
            typer.echo(f"{name.upper()} is not set: the service needs it", err=True)
    if settings.celery_result_backend is None:
        typer.echo("CELERY_RESULT_BACKEND is not set: results of a plain .delay() are stored nowhere", err=True)
    typer.echo(f"{sum(not missing for missing in closed.values())} tasks can be created", err=True)
    if findings:
        raise typer.Exit(1)


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


@cli.command()
def doctor(
    output: Annotated[Output, typer.Option("--output", "-o", help="The form of the report.")] = Output.TEXT,
) -> None:
    """Say what is wrong with this installation and how to put it right. Exits with 1 if a check fails.

    Each line: ok, warn or FAIL, the check, what is seen, what to do. In Chinese where LC_ALL or LANG begins with zh.
    """
    from app.core.config import get_settings
    from app.doctor import findings
    from app.doctor.checks import examine
    from app.doctor.findings import Level, left_running

    logging.disable(logging.CRITICAL)  # the report tells it
    language = findings.language_of(os.environ)
    results = []
    for result in examine(get_settings):
        results.append(result)
        if output == Output.TEXT:
            colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            for line in findings.report_lines([result], language, colours=colours):
                print(line, flush=True)
    if output == Output.JSON:
        print(findings.report_as_json(results, language), flush=True)
    logging.disable(logging.NOTSET)
    code = int(any(finding.level == Level.FAIL for _, findings in results for finding in findings))
    if left_running():
        os._exit(code)  # a thread that hangs in a driver would hold up the end of the process
    raise typer.Exit(code)


@cli.command()
@one_line_errors
def prune_audit(
    older_than: Annotated[float, typer.Option(min=1, help="Age in days; younger records stay.", metavar="DAYS")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Records that one transaction deletes.")] = 10_000,
) -> None:
    """Delete old audit records. DATABASE_URL has to name the role that owns the tables (docs/servers.md).

    Each batch leaves a record of how many it deleted. Whatever writes to the audit waits for the batch under way.
    """
    from app.db.session import SessionLocal
    from app.services.audit import audit_service

    with SessionLocal() as db:
        number, before = audit_service.count_older(db, timedelta(days=older_than))
        if not dry_run:
            number = 0
            for deleted in audit_service.prune(db, before, batch):
                number += deleted
                typer.echo(f"{number} records deleted", err=True)
    typer.echo(f"{number} records {'are' if dry_run else 'were'} older than {before:%Y-%m-%dT%H:%M:%SZ}")


@cli.command()
@one_line_errors
def import_beat_schedule(
    user: Annotated[str, typer.Option(metavar="NAME", help="The owner of the schedules and of their tasks.")],
    apply: Annotated[bool, typer.Option("--apply", help="Make them. Without it they are only printed.")] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Have them begin paused.")] = False,
) -> None:
    """Make a schedule of each entry of `beat_schedule`. Prints what becomes of each, and makes nothing without --apply.

    The entries are those of the service's application, and of what TASK_MODULES name. Run twice, it makes none twice.
    """
    from app.beat import entries
    from app.catalogue import read_tasks
    from app.core.config import get_settings
    from app.db.session import SessionLocal
    from app.errors import InvalidInput
    from app.messaging.application import celery_app
    from app.messaging.loader import check_task_modules
    from app.services.user_service import user_service

    check_task_modules(get_settings())
    logging.disable(logging.ERROR)  # a module that cannot be imported is told below
    read_tasks()
    logging.disable(logging.NOTSET)
    if celery_app.loader.findings:
        raise InvalidInput(str(celery_app.loader.findings[0]))
    celery_app.finalize(auto=True)
    modules = {name: sys.modules[name] for name in get_settings().task_modules if name in sys.modules}
    with SessionLocal() as db:
        owner = user_service.find_id(db, user)
        if owner is None:
            raise InvalidInput(f"there is no user {user}")
        lines = entries.import_entries(db, owner, entries.sources(modules), apply=apply, paused=paused)
    for line in lines:
        typer.echo(f"{line.outcome:<7} {line.entry}: {line.text}")
        for each in line.left_out:
            typer.echo(f"        without {each}")
        if not line.is_known:
            typer.echo("        no worker that runs knows the task: name its module in TASK_MODULES of all processes")
    number = Counter(line.outcome for line in lines)
    created, left = number[entries.Outcome.CREATE], number[entries.Outcome.LEAVE]
    typer.echo(f"{created} {'created' if apply else 'to create (--apply)'}, {left} stay with beat", err=True)
    if apply and created and paused:
        typer.echo("They are paused: resume each when you take its entry out of beat_schedule", err=True)
    elif apply and created:
        typer.echo("Take these out of beat_schedule now: until then both make the task", err=True)


OWN = frozenset(
    str(command.callback.__name__).replace("_", "-") for command in cli.registered_commands if command.callback
)


def _prepare_streams() -> None:
    """Have standard streams that take any text. A closed one becomes the null device.

    As `task_service_client.cli` does, which need not be installed here.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (it stays open)
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="replace")


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names. Returns its exit code.

    The commands of `task-service` are among them where task-service-client is installed.
    """
    words = sys.argv[1:] if argv is None else argv
    if argv is None:
        gc.set_threshold(*GC_THRESHOLDS)
    try:
        _prepare_streams()
        if words and words[0] not in OWN and words[0] in _commands_of_client():
            from task_service_client.cli import main as run_client

            run_client(words, prog_name="python -m app")
        cli(words, prog_name="task-service-server")
    except KeyboardInterrupt:  # before or behind a command
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
