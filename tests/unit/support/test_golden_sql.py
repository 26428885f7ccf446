"""Golden files of SQL: the lay-out of statements hides nothing but white space, and a change is shown."""

import re

import pytest

from tests.support.golden_sql import COMMAND, FOLDER, WRITES, compare, laid_out

LAID_OUT = {
    "SELECT a,  b \nFROM c \n WHERE d": "SELECT a, b\nFROM c\nWHERE d",
    "SELECT 'a  b FROM c'": "SELECT 'a  b FROM c'",
    "SELECT a WHERE b IN (SELECT c FROM d)": "SELECT a\nWHERE b IN (\n  SELECT c\n  FROM d)",
}


def test_is_of_clauses() -> None:
    assert {statement: laid_out(statement) for statement in LAID_OUT} == LAID_OUT


def test_keeps_every_word_of_a_long_statement() -> None:
    columns = ", ".join(f"a_table.column_{number}" for number in range(50))
    statement = f"WITH x AS MATERIALIZED (SELECT {columns} FROM a_table FOR UPDATE SKIP LOCKED) SELECT x.a FROM x"
    lines = laid_out(statement).splitlines()
    assert max(map(len, lines)) <= 120
    assert re.sub(r"\s+", "", "".join(lines)) == re.sub(r"\s+", "", statement)


def test_a_changed_statement_fails_with_a_diff_and_the_command_that_writes_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WRITES, raising=False)
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.sql")}
    compare(FOLDER, files)
    changed = {name: text.replace("INSERT INTO tasks", "INSERT INTO jobs") for name, text in files.items()}
    with pytest.raises(pytest.fail.Exception) as caught:
        compare(FOLDER, changed)
    told = str(caught.value)
    assert "-INSERT INTO tasks" in told
    assert "+INSERT INTO jobs" in told
    assert COMMAND in told
