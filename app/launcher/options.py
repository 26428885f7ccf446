"""The options of `run_server.py`. They are read before anything is installed, so this needs Python alone."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from app.launcher import database

_CHECKOUT = Path(__file__).resolve().parents[2]
# Installed from a wheel there is no checkout: `.env` and `.data` are those of the working directory.
ROOT = _CHECKOUT if (_CHECKOUT / "run_server.py").exists() else Path.cwd()
DEFAULT_PORT = 8000


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options. Ends the process for --help and for what is wrong."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="run_server.py",
        description="Start the whole service: a database of its own and embedded Valkey (unless DATABASE_URL and "
        "CELERY_BROKER_URL name others), migrations, a first admin, API, workers and beat.",
    )
    made.add_argument("--host", default="127.0.0.1", help="where the API listens (default: %(default)s)")
    made.add_argument("--port", type=port_number, metavar="N", help=f"default: {DEFAULT_PORT}, or the next free one")
    made.add_argument("--data-dir", type=Path, metavar="DIR", default=ROOT / ".data", help="default: %(default)s")
    made.add_argument("--database", choices=database.OWN,
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
    """The type of `--port`. Raises ArgumentTypeError outside of 1 to 65535."""
    number = int(text)
    if not 0 < number < 65536:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def count(text: str) -> int:
    """The type of options that count processes. Raises ArgumentTypeError below 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
