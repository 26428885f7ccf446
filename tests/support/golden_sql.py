"""Golden files of SQL: a change of a statement is seen in a diff.

`recorded` notes what this process sends, `laid_out` makes it readable, `compare` holds it against the files.
`python -m tests.support.golden_sql --write` writes all files anew.
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

import pytest

from tests.support.services import ROOT
from tests.support.statements import before_each_statement

FOLDER = ROOT / "tests" / "integration" / "golden"
SUITE = "tests/integration/test_golden_sql.py"
COMMAND = "python -m tests.support.golden_sql --write"
# With this variable in the environment the tests write the files, and do not compare.
WRITES = "GOLDEN_SQL_WRITE"
HEAD = f"-- Written by `{COMMAND}`.\n"

_QUOTED = re.compile(r"('(?:[^']|'')*')")
_CLAUSES = (
    r"WITH(?! ORDINALITY| TIME ZONE)|SELECT|FROM|LEFT OUTER JOIN|LEFT JOIN|CROSS JOIN|JOIN|WHERE|AND|GROUP BY|HAVING"
    "|ORDER BY|LIMIT|OFFSET|FOR UPDATE|FOR NO KEY UPDATE|FOR SHARE|FOR KEY SHARE|UNION ALL|UNION|INSERT INTO|VALUES"
    "|ON CONFLICT|DO NOTHING|DO UPDATE SET|DELETE FROM|UPDATE|SET|USING|RETURNING"
)
_CLAUSE = re.compile(rf"(?:(?<!\(epoch) |(?<=\())({_CLAUSES})\b")
_WIDTH, _INDENT = 120, "  "


class Recording:
    """The statements of each step, laid out: a statement stands with the first step that sends it."""

    def __init__(self) -> None:
        self._steps: dict[str, list[str]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What this process sends from here on belongs to this step."""
        sent: set[str] = set()
        with before_each_statement(lambda statement, _: sent.add(laid_out(statement)), with_settings=True):
            yield
        assert sent, f"{name} sends nothing"
        self._steps[name] = sorted(sent.difference(*self._steps.values()))

    def files(self) -> dict[str, str]:
        return {f"{name}.sql": file_text(found) for name, found in self._steps.items()}


# -- the text ----------------------------------------------------------------------------------------------------------


def file_text(found: Iterable[str]) -> str:
    """The text of a file of these statements."""
    return "\n".join([HEAD, *(f"{statement};\n" for statement in found)])


def laid_out(statement: str) -> str:
    """The statement in lines of its clauses, indented by its parentheses. Only white space is changed."""
    text = _QUOTED.split(statement)
    text[::2] = [re.sub(r"\s+", " ", part) for part in text[::2]]
    cut = _QUOTED.split(f" {''.join(text).strip()}")
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
    return int(pytest.main(["-q", "-n", "0", str(ROOT / SUITE)]))


if __name__ == "__main__":
    sys.exit(main())
