"""The text of every statement that the service sends to PostgreSQL, in files: a change of one is seen in a diff.

`capture` notes what the code of `app/` sends, `files_of` makes the texts of the files, `compare` holds them against what
is stored. Each distinct statement stands once, sorted and without its values: neither the order of threads nor the
number of rows matters. `python -m tests.support.golden_sql --write` writes all files anew.
"""

import argparse
import difflib
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import golden_room, statements
from tests.support.golden_room import Reached
from tests.support.services import ROOT

FOLDER = ROOT / "tests" / "integration" / "golden"
DDL_FOLDER = ROOT / "tests" / "unit" / "golden"
# The file of the statements that several scenarios send.
SHARED = "shared"
SUITES = ("tests/integration/test_golden_sql.py", "tests/unit/test_golden_ddl.py")
COMMAND = "python -m tests.support.golden_sql --write"
# With this variable in the environment the tests write the files, and do not compare.
WRITES = "GOLDEN_SQL_WRITE"
HEAD = f"-- Written by `{COMMAND}`.\n"

_APP, _TESTS = f"{ROOT / 'app'}{os.sep}", f"{ROOT / 'tests'}{os.sep}"
# What stands between a statement and whoever sends it.
_LISTENERS = {__file__, statements.__file__}

_PARAMETER = r"%\(\w+\)s(?:::\w+(?:\[\])?)?"
_PAIR = rf"\({_PARAMETER}(?:, {_PARAMETER})*\)"
_ROW = r"\((?:[^()]|\([^()]*\))*\)"
# How many values stand in a list is the scenario's, not the statement's. SQLAlchemy numbers the rows of VALUES from 0.
_LISTS = (
    re.compile(rf"(?<= IN )(\({_PARAMETER})(?:, {_PARAMETER})*(?=\))"),
    re.compile(rf"(?<= IN )(\({_PAIR})(?:, {_PAIR})*(?=\))"),
    re.compile(rf"(?<= VALUES )(?=\([^()]*\(\w+(?:_m|__)0\))({_ROW})(?:, {_ROW})*"),
)
_QUOTED = re.compile(r"('(?:[^']|'')*')")
_CLAUSES = (
    r"WITH(?! ORDINALITY| TIME ZONE)|SELECT|FROM|LEFT OUTER JOIN|LEFT JOIN|CROSS JOIN|JOIN|WHERE|AND|GROUP BY|HAVING"
    "|ORDER BY|LIMIT|OFFSET|FOR UPDATE|FOR NO KEY UPDATE|FOR SHARE|FOR KEY SHARE|UNION ALL|UNION|INSERT INTO|VALUES"
    "|ON CONFLICT|DO NOTHING|DO UPDATE SET|DELETE FROM|UPDATE|SET|USING|RETURNING"
)
_CLAUSE = re.compile(rf"(?:(?<!\(epoch) |(?<=\())({_CLAUSES})\b")
_WIDTH, _INDENT = 120, "  "
# What SQLAlchemy itself asks for, in words that change with its releases.
_OF_SQLALCHEMY = "pg_catalog."


class Captured:
    """What was sent, and which functions of the room took part."""

    def __init__(self) -> None:
        self.statements: set[str] = set()
        self.reached = Reached()

    def note(self, statement: str, _parameters: Any) -> None:
        """Called before each statement, in the thread that sends it. What a test itself sends does not count."""
        if _is_of_the_service() and _OF_SQLALCHEMY not in statement:
            self.statements.add(statement)
            self.reached.sends()


def _is_of_the_service() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name not in _LISTENERS and name.startswith((_APP, _TESTS)):
            return name.startswith(_APP)
        frame = frame.f_back  # type: ignore[assignment]
    return False


@contextmanager
def capture() -> Iterator[Captured]:
    """Of this process, on the engines that there are now."""
    captured = Captured()
    with golden_room.noted(captured.reached), statements.before_each_statement(captured.note, with_settings=True):
        yield captured


# -- the text ----------------------------------------------------------------------------------------------------------


def files_of(captured: Mapping[str, Captured]) -> dict[str, str]:
    """The files of what the scenarios sent, by their names: a statement stands once in all of them.

    What several send stands in SHARED, with their names.
    """
    senders: dict[str, list[str]] = {}
    for name, each in captured.items():
        for statement in {laid_out(statement) for statement in each.statements}:
            senders.setdefault(statement, []).append(name)
    found: dict[str, list[str]] = {name: [] for name in (*captured, SHARED)}
    for statement, names in sorted(senders.items()):
        if len(names) == 1:
            found[names[0]].append(statement)
        else:
            found[SHARED].append(f"{_told(names)}\n{statement}")
    return {f"{name}.sql": file_text(of_name) for name, of_name in found.items() if of_name}


def _told(names: Iterable[str]) -> str:
    return "\n".join(textwrap.wrap(", ".join(sorted(names)), _WIDTH, initial_indent="-- ", subsequent_indent="-- "))


def file_text(found: Iterable[str]) -> str:
    """The text of a file of these statements."""
    return "\n".join([HEAD, *(f"{statement};\n" for statement in found)])


def laid_out(statement: str) -> str:
    """The statement in lines of its clauses, indented by its parentheses. Only white space and lists are changed."""
    text = _QUOTED.split(statement)
    text[::2] = [re.sub(r"\s+", " ", part) for part in text[::2]]
    whole = f" {''.join(text).strip()}"
    for values in _LISTS:
        whole = values.sub(r"\1, …", whole)
    cut = _QUOTED.split(whole)
    cut[::2] = [_CLAUSE.sub(r"\n\1", part) for part in cut[::2]]
    lines: list[str] = []
    depth = 0
    for clause in "".join(cut).strip().split("\n"):
        indent = _INDENT * depth
        lines += textwrap.wrap(
            clause,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + 2 * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        bare = _QUOTED.sub("", clause)
        depth += bare.count("(") - bare.count(")")
    return "\n".join(lines)


# -- the files ---------------------------------------------------------------------------------------------------------


def compare(folder: Path, files: Mapping[str, str]) -> None:
    """Fail with a diff unless the folder holds these files alone; with the variable WRITES, make it so."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}
    if os.environ.get(WRITES):
        folder.mkdir(exist_ok=True)
        for name in stored.keys() - files.keys():
            (folder / name).unlink()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return
    where = folder.relative_to(ROOT).as_posix()
    diffs = [
        line
        for name in sorted(stored.keys() | files.keys())
        for line in _diff(f"{where}/{name}", stored.get(name, ""), files.get(name, ""))
    ]
    if diffs:
        told = f"The SQL is not what {where}/ says. If that is meant, run `{COMMAND}` and read its diff."
        pytest.fail("\n".join([told, "", *diffs]), pytrace=False)


def _diff(name: str, stored: str, now: str) -> Iterator[str]:
    return difflib.unified_diff(stored.splitlines(), now.splitlines(), name, f"{name} (now)", lineterm="")


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND.rpartition(" ")[0], description=__doc__)
    parser.add_argument("--write", action="store_true", help="write all files anew; without it they are compared")
    if parser.parse_args().write:
        os.environ[WRITES] = "1"
    return int(pytest.main(["-q", "-n", "0", *(str(ROOT / suite) for suite in SUITES)]))


if __name__ == "__main__":
    sys.exit(main())
