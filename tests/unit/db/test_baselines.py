"""The baselines are what the models say, and MySQL can have them."""

import ast
import re

import pytest
from sqlalchemy import CheckConstraint

import app.models  # noqa: F401 (fills the metadata)
from app.ddl import mysql, sqlite, trigger_rules
from app.ddl.columns import Base
from app.ddl.terms import STATES
from app.migrations import baselines
from app.models.task import TaskStatus
from tests.support.baselines import COMMAND, FOLDER, URLS, is_frozen, schema_of
from tests.support.services import ROOT
from tests.support.sources import assert_none

# https://dev.mysql.com/doc/refman/8.0/en/signal.html
MESSAGE_CHARACTERS = 128
# By revisions: types of columns, and names of engines.
MAY_BE_IMPORTED = ("app.core.engines", "app.ddl.clock", "app.ddl.columns")


def committed(engine: str) -> str:
    return (FOLDER / f"{engine}.sql").read_text(encoding="utf-8")


@pytest.mark.skipif(is_frozen(), reason="test_migrations.py holds baseline and revisions against the models")
@pytest.mark.parametrize("engine", URLS)
def test_what_is_committed_is_the_schema_of_the_models(engine: str) -> None:
    assert committed(engine) == schema_of(engine), COMMAND


def test_a_revision_imports_nothing_that_changes() -> None:
    revisions = [*(FOLDER.parent / "versions").glob("*.py"), *(ROOT / "tests/support/example_revisions").glob("*.py")]
    assert len(revisions) > 3
    assert_none(
        f"{path.name} imports {node.module}"
        for path in revisions
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "app"
        if not node.module.startswith(("app.migrations", *MAY_BE_IMPORTED))
    )


@pytest.mark.parametrize("engine", URLS)
def test_no_statement_has_the_separator_of_statements(engine: str) -> None:
    statements = committed(engine).split(baselines.SEPARATOR)
    assert all(statement.startswith(("CREATE ", "ALTER TABLE ", "REVOKE ")) for statement in statements)
    # Tables of later revisions stand in no baseline.
    assert is_frozen() or sum(each.startswith("CREATE TABLE") for each in statements) >= len(Base.metadata.tables)


def test_no_check_names_a_column_that_a_foreign_key_changes() -> None:
    """MySQL refuses such a table."""
    for table in Base.metadata.tables.values():
        keys = [key for key in table.foreign_keys if key.ondelete in {"SET NULL", "SET DEFAULT"} or key.onupdate]
        checks = " ".join(str(check.sqltext) for check in table.constraints if isinstance(check, CheckConstraint))
        assert not {key.parent.name for key in keys} & set(re.findall(r"\w+", checks)), table.name


class TestTriggers:
    def test_they_know_all_states(self) -> None:
        assert tuple(TaskStatus) == STATES

    def words(self, rules: trigger_rules.Rules) -> list[str]:
        return [
            word for _, then in rules for word in ([then] if isinstance(then, str) else self.words(then))
        ]  # fmt: skip

    def test_what_mysql_says_fits_into_its_messages(self) -> None:
        for words in self.words(trigger_rules.guard_rules(str)):
            longest = words.replace("{OLD.id}", "0" * 32).replace("version}", "2147483647").replace(".status}", "x" * 9)
            assert len(f"tasks_guard: {longest}") <= MESSAGE_CHARACTERS

    @pytest.mark.parametrize("room", [mysql, sqlite])
    def test_each_says_what_it_refuses(self, room: object) -> None:
        text = "\n".join(room.CREATE["tasks"])  # type: ignore[attr-defined]
        assert "CREATE TRIGGER tasks_guard " in text
        for words in self.words(trigger_rules.guard_rules(str)):
            assert words.rpartition("}")[2] in text
