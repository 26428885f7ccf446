"""The options of `run_server.py`, and what they choose: the database of the run, and the commands of its parts.

They are read before anything is installed, so this needs Python alone.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from app.core.engines import MYSQL, POSTGRESQL, SQLITE, engine_of, with_driver
from app.launcher.errors import LauncherError

_CHECKOUT = Path(__file__).resolve().parents[2]
# Installed from a wheel there is no checkout: `.env` and `.data` are those of the working directory.
ROOT = _CHECKOUT if (_CHECKOUT / "run_server.py").exists() else Path.cwd()
DEFAULT_PORT = 8000


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options. Ends the process for --help and for what is wrong."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    made = argparse.ArgumentParser(
        prog="run_server.py",
        description="Start the whole service: a database of its own and embedded Valkey (unless DATABASE_URL and "
        "CELERY_BROKER_URL name others), migrations, a first admin, API, workers and beat.",
    )
    made.add_argument("--host", default="127.0.0.1", help="where the API listens (default: %(default)s)")
    made.add_argument("--port", type=port_number, metavar="N", help=f"default: {DEFAULT_PORT}, or the next free one")
    made.add_argument("--data-dir", type=Path, metavar="DIR", default=ROOT / ".data", help="default: %(default)s")
    made.add_argument("--database", choices=OWN_DATABASES,
                      help="its own database: embedded PostgreSQL (default), or a file of SQLite")  # fmt: skip
    made.add_argument("--api-workers", type=count, default=1, metavar="N", help="API processes (default: 1)")
    made.add_argument("--workers", type=count, default=1, metavar="N",
                      help="Celery worker processes (default: 1), beside one for urgent tasks alone")  # fmt: skip
    children = max(2, os.cpu_count() or 1)
    made.add_argument("--concurrency", type=count, default=children, metavar="N",
                      help="tasks that each worker runs at once (default: %(default)s)")  # fmt: skip
    made.add_argument("--no-worker", action="store_true", help="start no worker")
    made.add_argument("--no-beat", action="store_true", help="start no beat")
    made.add_argument("--reload", action="store_true",
                      help="have API, workers and beat run the new code once a file of app/ or of the packages of "
                      "TASK_MODULES has changed; for development")  # fmt: skip
    made.add_argument("--verbose", action="store_true",
                      help="show Celery's banners and warnings, and tracebacks of dead processes")  # fmt: skip
    return made


def port_number(text: str) -> int:
    """Return the type of `--port`. Raises ArgumentTypeError outside of 1 to 65535."""
    number = int(text)
    if not 0 < number < 65536:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def count(text: str) -> int:
    """Return the type of options that count processes. Raises ArgumentTypeError below 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


# -- The database of a run: that of DATABASE_URL, or else one in the data directory, of PostgreSQL or SQLite -----------

# What `--database` takes: the engines of which a data directory may hold a database.
OWN_DATABASES = (POSTGRESQL, SQLITE)
_ENGINE_NAMES = {POSTGRESQL: "PostgreSQL", MYSQL: "MySQL or MariaDB", SQLITE: "SQLite"}
_DATABASE_PLACES = {POSTGRESQL: Path("postgres", "data"), SQLITE: Path("tasks.db")}


def chosen_engine(url: str | None, asked: str | None, directory: Path) -> str:
    """Return the engine of the run: that of DATABASE_URL, or what `--database` asks for, or PostgreSQL.

    Raises LauncherError where these two, or `--database` and an earlier start, do not agree, and for a database that
    the service cannot use.
    """
    if url is None:
        return _own_engine(asked or POSTGRESQL, directory)
    engine = _checked_engine(url)
    if asked not in (None, engine):
        raise LauncherError(
            f"--database {asked} contradicts DATABASE_URL (environment or .env), which names a database of "
            f"{_ENGINE_NAMES[engine]}: leave one of them out"
        )
    return engine


def _own_engine(engine: str, directory: Path) -> str:
    """Refuses to begin an empty database beside that of an earlier start, whose tasks would seem to be gone."""
    made = [each for each, place in _DATABASE_PLACES.items() if (directory / place).exists()]
    if made and engine not in made:
        raise LauncherError(
            f"an earlier start has made a database of {_ENGINE_NAMES[made[0]]} in {directory}: start with "
            f"--database {made[0]}, or name another directory with --data-dir"
        )
    return _checked_engine(sqlite_url(directory)) if engine == SQLITE else engine


def _checked_engine(url: str) -> str:
    try:
        return engine_of(with_driver(url))
    except ValueError as error:
        raise LauncherError(str(error)) from error


def sqlite_file(directory: Path) -> Path:
    """Return the path of SQLite's database in this data directory."""
    return directory / _DATABASE_PLACES[SQLITE]


def sqlite_url(directory: Path) -> str:
    """Return what DATABASE_URL is for this file."""
    return f"sqlite:///{quote(str(sqlite_file(directory)))}"


def make_sqlite_file(directory: Path) -> None:
    """Create the file unless it is there, readable by its owner alone.

    SQLite gives the files that it makes beside it the same mode.
    """
    path = sqlite_file(directory)
    path.touch(mode=0o600)
    path.chmod(0o600)


# -- The commands of the service's own parts: API, workers and beat ----------------------------------------------------

# Serves the queue of critical and high tasks alone: one of them starts at once, whatever fills the other workers.
EXPRESS = "express"
EXPRESS_QUEUE = "high_priority"


def api_command(options: argparse.Namespace, port: int, *, grace: int = 5) -> list[str]:
    """Return the API on this port. Requests that are under way have `grace` seconds once it is told to stop."""
    command = ["uvicorn", "app.main:app", "--host", options.host, "--port", str(port), "--no-server-header",
               "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none", "--no-access-log",
               "--timeout-graceful-shutdown", str(grace)]  # fmt: skip
    if not os.environ.get("FORWARDED_ALLOW_IPS"):
        # uvicorn would trust any client of this machine to name its address, by which logins are throttled.
        command.append("--no-proxy-headers")
    if options.api_workers > 1:
        command += ["--workers", str(options.api_workers)]
    return command


def worker_commands(options: argparse.Namespace, name_of: Callable[[str], str] = str) -> dict[str, list[str]]:
    """Return the workers by their names: as many as the options ask for, and the express slot.

    `name_of` gives each another name than a worker that is still there.
    """
    if options.no_worker:
        return {}
    kinds = {f"worker{number + 1}": ["-c", str(options.concurrency)] for number in range(options.workers)}
    kinds[EXPRESS] = ["-c", "1", "-Q", EXPRESS_QUEUE]
    named = {name_of(name): more for name, more in kinds.items()}
    return {
        name: [*_celery_command(options), "worker", "-l", "info", "-n", f"{name}@%h", *more]
        for name, more in named.items()
    }


def beat_command(options: argparse.Namespace, schedule: Path) -> list[str]:
    """Beat, which keeps its schedule in this file."""
    return [*_celery_command(options), "beat", "-l", "info", "-s", str(schedule)]


def _celery_command(options: argparse.Namespace) -> list[str]:
    return ["app.messaging.command_line", *([] if options.verbose else ["--quiet"])]
