"""What a revision can do on every engine (`app/migrations/changes.py`), below a service that runs."""

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.migrations import changes
from tests.support.services import Services, sqlalchemy_url


@pytest.mark.postgresql("its roles: elsewhere a trigger writes with the rights of who has made it")
def test_the_services_role_may_write_a_table_that_a_revision_has_added(services: Services) -> None:
    name = services.new_database()
    engine = sa.create_engine(sqlalchemy_url(services.database_url(name)), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE ROLE anybody; GRANT SELECT, UPDATE ON tasks TO anybody"))
            with Operations.context(MigrationContext.configure(connection)):
                for table in ("added", "closed"):
                    connection.execute(sa.text(f"CREATE TABLE {table} (id integer)"))
                changes.copy_grants("tasks", "added")
            connection.execute(sa.text("SET ROLE anybody; INSERT INTO added VALUES (1); DELETE FROM added"))
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(sa.text("INSERT INTO closed VALUES (1)"))
            connection.rollback()
    finally:
        engine.dispose()
        services.drop_database(name)
