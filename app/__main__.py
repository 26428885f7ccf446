"""Commands of the service: `python -m app`, or `task-service-server` where the package is installed."""

import argparse
import sys
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import ConfigurationError, get_settings
from app.db.session import SessionLocal
from app.errors import InvalidInput, ServiceError
from app.services.user_service import user_service


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="task-service-server", description="Commands of the task service.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary)
    name = parser.parse_args(argv).command
    try:
        COMMANDS[name][0]()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except (CommandError, ServiceError, SQLAlchemyError) as error:
        # The first line of a database error is the server's message; the statement follows.
        print(f"{name}: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1
    return 0


def migrate() -> None:
    """Bring the database of DATABASE_URL to the newest schema; the same as `alembic upgrade head` in a checkout."""
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    command.upgrade(config, "head")


def create_admin() -> None:
    """Create the administrator of FIRST_ADMIN_*; print `created`, or `exists` where the name is taken."""
    settings = get_settings()
    if settings.first_admin_username is None or settings.first_admin_password is None:
        raise InvalidInput("set FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD")
    with SessionLocal() as db:
        created = user_service.ensure_first_admin(
            db,
            settings.first_admin_username,
            settings.first_admin_password.get_secret_value(),
            settings.first_admin_email,
        )
    print("created" if created else "exists")


COMMANDS: dict[str, tuple[Callable[[], None], str]] = {
    "migrate": (migrate, "bring the database to the newest schema"),
    "create-admin": (create_admin, "create the administrator that FIRST_ADMIN_* names, once"),
}

if __name__ == "__main__":
    sys.exit(main())
