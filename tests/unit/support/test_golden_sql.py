"""The lay-out of statements in the golden files: it hides nothing but white space and the number of values in a list."""

import re

import pytest

from tests.support.golden_sql import Captured, files_of, laid_out


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a,  b \nFROM c \n WHERE d", "SELECT a, b\nFROM c\nWHERE d"),
        ("SELECT 'a  b FROM c'", "SELECT 'a  b FROM c'"),
        ("SELECT a WHERE b IN (SELECT c FROM d)", "SELECT a\nWHERE b IN (\n  SELECT c\n  FROM d)"),
        ("DELETE FROM a WHERE b IN (%(b_1_1)s::UUID)", "DELETE FROM a\nWHERE b IN (%(b_1_1)s::UUID, …)"),
        ("DELETE FROM a WHERE b IN (%(b_1_1)s, %(b_1_2)s)", "DELETE FROM a\nWHERE b IN (%(b_1_1)s, …)"),
        ("SELECT 1 WHERE (a, b) IN ((%(c)s, %(d)s), (%(e)s, %(f)s))", "SELECT 1\nWHERE (a, b) IN ((%(c)s, %(d)s), …)"),
        ("INSERT INTO a (b) VALUES (%(b)s)", "INSERT INTO a (b)\nVALUES (%(b)s)"),
        ("INSERT INTO a (b) VALUES (%(b__0)s)", "INSERT INTO a (b)\nVALUES (%(b__0)s), …"),
        ("INSERT INTO a (b) VALUES (%(b_m0)s), (%(b_m1)s)", "INSERT INTO a (b)\nVALUES (%(b_m0)s), …"),
    ],
)
def test_is_of_clauses(statement: str, expected: str) -> None:
    assert laid_out(statement) == expected


def test_keeps_every_word_of_a_long_statement() -> None:
    columns = ", ".join(f"a_table.column_{number}" for number in range(50))
    statement = f"WITH x AS MATERIALIZED (SELECT {columns} FROM a_table FOR UPDATE SKIP LOCKED) SELECT x.a FROM x"
    lines = laid_out(statement).splitlines()
    assert max(map(len, lines)) <= 120
    assert re.sub(r"\s+", "", "".join(lines)) == re.sub(r"\s+", "", statement)


def test_a_statement_of_several_scenarios_stands_once_with_their_names() -> None:
    one, other = Captured(), Captured()
    one.statements, other.statements = {"SELECT 1", "SELECT 2"}, {"SELECT  1"}
    files = files_of({"one": one, "other": other})
    assert set(files) == {"one.sql", "shared.sql"}
    assert files["one.sql"].endswith("\n\nSELECT 2;\n")
    assert files["shared.sql"].endswith("\n\n-- one, other\nSELECT 1;\n")
