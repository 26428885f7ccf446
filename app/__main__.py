"""`python -m app create-admin`: make the first administrator of FIRST_ADMIN_* in a migrated database."""

import argparse
import sys

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import ConfigurationError, get_settings
from app.db.session import SessionLocal
from app.errors import InvalidInput, ServiceError
from app.services.user_service import user_service


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="Commands of the task service.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create-admin", help="create the administrator that FIRST_ADMIN_* names, once")
    parser.parse_args(argv)
    try:
        print("created" if create_admin() else "exists")
    except (ConfigurationError, ServiceError, SQLAlchemyError) as error:
        # Of a database error, what comes before the statement.
        print(f"create-admin: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1
    return 0


def create_admin() -> bool:
    """True when created, False when the name exists already."""
    settings = get_settings()
    if settings.first_admin_username is None or settings.first_admin_password is None:
        raise InvalidInput("set FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD")
    with SessionLocal() as db:
        return user_service.ensure_first_admin(
            db,
            settings.first_admin_username,
            settings.first_admin_password.get_secret_value(),
            settings.first_admin_email,
        )


if __name__ == "__main__":
    sys.exit(main())
