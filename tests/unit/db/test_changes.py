"""A table that SQLite makes anew for a revision keeps all that stands on it, and the rows that refer to it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError

from app.migrations.baselines import create_all
from app.migrations.changes import _says_that_it_is_done, change_table

USER = "INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash) VALUES (1, 2, 3, 4, 5, 6)"
TASK = """INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, due_at)
VALUES (7, 8, 1, 'n', 't', 'c', '[]', '{}', 'low', 'default', 1)"""
ATTEMPT = "INSERT INTO task_attempts (task_id, number, started_at, finished_at, outcome) VALUES (7, 1, 1, 2, 'retried')"


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
        create_all(connection)
        for statement in (USER, TASK, ATTEMPT):
            connection.exec_driver_sql(statement)
        yield connection
    engine.dispose()


def kept(connection: sa.Connection) -> tuple[object, ...]:
    inspector = sa.inspect(connection)
    standing = "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'tasks' AND type <> 'table' ORDER BY name"
    return (
        connection.exec_driver_sql(standing).all(),
        connection.exec_driver_sql("SELECT * FROM pragma_table_xinfo('tasks')").all(),
        inspector.get_foreign_keys("tasks"),
        {check["name"]: " ".join(check["sqltext"].split()) for check in inspector.get_check_constraints("tasks")},
        [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in ("tasks", "task_attempts")],
    )


def test_all_of_it_is_there_again(connection: sa.Connection) -> None:
    before = kept(connection)
    with change_table("tasks"):
        """Anew, as it was."""
    assert kept(connection) == before
    assert len(before[3]) > 10
    with pytest.raises(sa.exc.IntegrityError, match="tasks_guard"):
        connection.exec_driver_sql("UPDATE tasks SET attempt = 1")


def test_a_check_and_a_column_are_what_the_revision_says(connection: sa.Connection) -> None:
    with change_table("tasks") as tasks:
        tasks.drop_constraint(op.f("ck_tasks_priority"), type_="check")
        tasks.create_check_constraint(op.f("ck_tasks_priority"), "priority <> 'low' OR weight > 1")
        tasks.add_column(sa.Column("weight", sa.Integer(), nullable=False, server_default="2"))
    connection.exec_driver_sql("UPDATE tasks SET priority = 'low'")
    with pytest.raises(sa.exc.IntegrityError, match="ck_tasks_priority"):
        connection.exec_driver_sql("UPDATE tasks SET weight = 1")


LETTERS = "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id CHAR(32) NOT NULL)"
WRITE_LETTER = 'CREATE TRIGGER "my-own" AFTER UPDATE ON tasks BEGIN INSERT INTO Letters (task_id) VALUES (NEW.id); END'


def last_letter(connection: sa.Connection) -> int:
    """The id of the one that a trigger of another table writes; it is deleted."""
    connection.exec_driver_sql("UPDATE tasks SET name = 'm'")
    last: int = connection.exec_driver_sql("SELECT max(id) FROM letters").scalar_one()
    connection.exec_driver_sql("DELETE FROM letters WHERE id = ?", (last,))
    return last


def test_triggers_of_another_table_write_to_it_and_no_id_is_used_again(connection: sa.Connection) -> None:
    for statement in (LETTERS, WRITE_LETTER):
        connection.exec_driver_sql(statement)
    with change_table("letters"):
        """Before its first row."""
    ids = [last_letter(connection) for _ in range(2)]
    for change in (None, True):
        with change_table("letters", sqlite_autoincrement=change):
            """Anew, as it was."""
        ids.append(last_letter(connection))
    assert ids == [1, 2, 3, 4]
    with change_table("letters", sqlite_autoincrement=False):
        """Its ids may be used again."""
    assert last_letter(connection) == 1
    with change_table("letters", sqlite_autoincrement=True):
        """No more."""
    assert [last_letter(connection) for _ in range(2)] == [1, 2]


def test_it_is_refused_where_rows_that_refer_to_it_would_go(connection: sa.Connection) -> None:
    connection.commit()
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    with pytest.raises(CommandError, match="foreign_keys must be OFF"), change_table("tasks"):
        """Not reached."""
    assert connection.exec_driver_sql("SELECT count(*) FROM task_attempts").scalar() == 1


ERRNO_121 = 'Can\'t create table `db`.`t` (errno: 121 "Duplicate key on write or update")'
ERRNO_150 = 'Can\'t create table `db`.`t` (errno: 150 "Foreign key constraint is incorrectly formed")'


@pytest.mark.parametrize(
    ("statement", "error", "done"),
    [
        ("ALTER TABLE t ADD COLUMN a int", (1060, "Duplicate column name 'a'"), True),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)", (1005, ERRNO_121), True),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)", (1005, ERRNO_150), False),
        ("\nDROP INDEX i ON t", (1146, "Table 'db.t' doesn't exist"), True),
        ("CREATE INDEX i ON t (a)", (1146, "Table 'db.t' doesn't exist"), False),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)", (1826, "Duplicate foreign key"), True),
        (
            "CREATE TABLE t (a int, CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id))",
            (1826, "Duplicate foreign key"),
            False,
        ),
        ("CREATE TABLE t (a int, CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id))", (1005, ERRNO_121), False),
        ("CREATE TABLE t (a int, CONSTRAINT c CHECK (a > 0))", (3822, "Duplicate check constraint name 'c'"), False),
        ("ALTER TABLE t ADD COLUMN a int", (1205, "Lock wait timeout exceeded; try restarting transaction"), False),
        ("DROP TRIGGER t", ("(0, '')",), False),
    ],
)
def test_mysql_says_of_a_step_that_it_is_done(statement: str, error: tuple[object, ...], done: bool) -> None:
    """As MariaDB 11.8 and MySQL 8.0 do."""
    assert _says_that_it_is_done(statement, *error) is done
