"""The lay-out of statements in the golden files: it hides nothing but white space."""

import re

from tests.support.golden_sql import laid_out

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
