"""The audit can only be added to, but by its pruning: on every engine. With two users of the database where it has users."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, create_engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.db.session import SessionLocal, engine
from app.db.sql import roles
from app.errors import InvalidInput
from app.models.audit import AuditRecord
from app.services.audit import audit_service
from tests.support.databases import DIALECT, ENGINE
from tests.support.services import ROOT, Services, migrate
from tests.support.settings import on_new_database, sql

AGE = timedelta(days=400)
CHANGES = ["UPDATE audit_events SET event = 'login.failed'", "DELETE FROM audit_events"]
APP, PASSWORD = "tasks_app", "choose-another"
ROW = (
    "INSERT INTO audit_events ({column}id, event, origin, object_kind, object_id)"
    " VALUES ({value}X'{id}', 'logout', 'http', 'user', '1')"
)
of_mysql = pytest.mark.skipif(DIALECT != "mysql", reason="of MariaDB and MySQL")


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[str]:
    """With five old records, of which two have the same time, and a fresh one."""
    with on_new_database(services) as name:
        row = {"event": "logout", "origin": "http", "object_kind": "user", "object_id": "1"}
        ages = [401, 402, 402, 403, 404, 1]
        now = datetime.now(UTC)
        with SessionLocal.begin() as db:
            db.execute(insert(AuditRecord.__table__), [{**row, "at": now - timedelta(days=days)} for days in ages])
        yield name


def number() -> int:
    with SessionLocal() as db:
        return db.execute(select(func.count()).select_from(AuditRecord)).scalar_one()


@pytest.mark.parametrize("statement", CHANGES)
def test_changes_are_refused(statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"append-only|permission denied"):
        sql(statement)
    assert number() == 6


def test_deletes_what_is_old_batch_by_batch_and_says_so() -> None:
    with SessionLocal() as db:
        counted, before = audit_service.count_older(db, AGE)
        assert counted == 5
        assert list(audit_service.prune(db, before, 2)) == [2, 2, 1]
        kept = db.scalars(select(AuditRecord).order_by(AuditRecord.at)).all()
    assert [record.event for record in kept] == ["logout", *["audit.pruned"] * 3]
    assert [record.detail["deleted"] for record in kept[1:]] == [2, 2, 1]
    assert all(record.detail["role"] for record in kept[1:])
    with pytest.raises(DBAPIError):
        sql("DELETE FROM audit_events")


def test_what_is_undone_has_deleted_nothing_and_leaves_the_protection() -> None:
    with SessionLocal() as db:
        _, before = audit_service.count_older(db, AGE)
        pruning = audit_service.prune(db, before, 2)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("app.services.audit.record", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                next(pruning)
    assert number() == 6
    with pytest.raises(DBAPIError):
        sql("DELETE FROM audit_events")


@pytest.mark.skipif(ENGINE != "sqlite", reason="of SQLite")
def test_a_file_has_no_roles() -> None:
    with engine().begin() as connection, pytest.raises(InvalidInput, match="SQLite has no roles"):
        roles.grant_to_service(connection, APP)


@of_mysql
class TestTheServicesUser:
    @pytest.fixture
    def owner(self) -> Iterator[Connection]:
        """Connected, beside a user who has nothing yet."""
        with engine().begin() as connection:
            connection.execute(text(f"CREATE USER {APP} IDENTIFIED BY '{PASSWORD}'"))
        with engine().connect() as connection:
            yield connection
        with engine().begin() as connection:
            connection.execute(text(f"DROP USER {APP}"))

    def engine_of_app(self) -> Engine:
        return create_engine(engine().url.set(username=APP, password=PASSWORD), poolclass=NullPool)

    @pytest.mark.parametrize("name", [APP, f"{APP}@%"])
    @pytest.mark.parametrize(
        "before",
        [(), ("DELETE ON audit_events", "INSERT ON alembic_version"), ("UPDATE (event), INSERT (at) ON audit_events",)],
    )
    def test_may_add_records_and_change_none(self, owner: Connection, name: str, before: Sequence[str]) -> None:
        for privileges in before:
            owner.execute(text(f"GRANT {privileges} TO {APP}"))
        for _ in range(2):  # after each release
            roles.grant_to_service(owner, name)
        with self.engine_of_app().begin() as app:
            app.exec_driver_sql(ROW.format(column="", id="1" * 32, value=""))
        refused = [
            *CHANGES,
            ROW.format(column="at, ", id="2" * 32, value="'2020-01-01', "),
            "UPDATE alembic_version SET version_num = '1'",
            "DROP TRIGGER audit_events_no_delete",
            "CREATE TABLE mine (id int)",
        ]
        for statement in refused:
            with self.engine_of_app().connect() as app, pytest.raises(DBAPIError, match="denied"):
                app.exec_driver_sql(statement)
        assert number() == 7

    def test_one_of_some_hosts_is_told_from_that_of_all(self, owner: Connection) -> None:
        host = "%.example"
        owner.execute(text(f"CREATE USER {APP}@'{host}' IDENTIFIED BY '{PASSWORD}'"))
        try:
            owner.execute(text(f"GRANT DELETE ON audit_events TO {APP}@'{host}'"))
            roles.grant_to_service(owner, f"{APP}@{host}")
            granted = [row[0] for row in owner.exec_driver_sql(f"SHOW GRANTS FOR {APP}@'{host.replace('%', '%%')}'")]
            assert any("INSERT (" in grant and "`audit_events`" in grant for grant in granted)
            assert not any("DELETE" in grant and "`audit_events`" in grant for grant in granted)
            owner.execute(text(f"GRANT DELETE ON {owner.engine.url.database}.* TO {APP}@'{host}'"))
            with pytest.raises(InvalidInput, match="privileges on the whole database"):
                roles.grant_to_service(owner, f"{APP}@{host}")
        finally:
            owner.execute(text(f"DROP USER {APP}@'{host}'"))

    def test_is_made_as_the_document_says(self, services: Services) -> None:
        document = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
        *_, block = re.findall(r"^```sql\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
        administrator = create_engine(services.database_url("tasks"), poolclass=NullPool)
        with engine().begin() as connection:
            for statement in block.split(";")[:-1]:
                connection.exec_driver_sql(statement)
        try:
            owner, app = (administrator.url.set(username=name, password=word)
                          for name, word in (("tasks_owner", "choose-one"), (APP, PASSWORD)))  # fmt: skip
            migrate(owner.render_as_string(hide_password=False))
            with administrator.begin() as connection:
                roles.grant_to_service(connection, APP)
            for statement in ("DELETE FROM audit_events", "TRUNCATE TABLE audit_events"):
                with (
                    create_engine(app, poolclass=NullPool).connect() as service,
                    pytest.raises(DBAPIError, match="denied"),
                ):
                    service.exec_driver_sql(statement)
            with create_engine(app, poolclass=NullPool).connect() as service:
                assert service.exec_driver_sql("SELECT count(*) FROM tasks").scalar_one() == 0
        finally:
            with engine().begin() as connection:
                for undo in ("DATABASE tasks", "USER tasks_owner", f"USER {APP}"):
                    connection.exec_driver_sql(f"DROP {undo}")

    @pytest.mark.parametrize(
        ("role", "says"),
        [
            ("nobody_of_that_name", "There is no such grant"),
            ("x`; DROP TABLE tasks", "There is no such grant"),
            ("root", "owns the tables"),
            (APP, "privileges on the whole database"),
        ],
    )
    def test_is_refused_where_it_would_not_hold(self, owner: Connection, role: str, says: str) -> None:
        owner.execute(text(f"GRANT DELETE ON {owner.engine.url.database}.* TO {APP}"))
        with pytest.raises((DBAPIError, InvalidInput), match=says):
            roles.grant_to_service(owner, role)
