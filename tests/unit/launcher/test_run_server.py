"""The file that any Python 3 must be able to read."""

import ast
import sys
from pathlib import Path

import run_server

SOURCE = Path(run_server.__file__).read_text(encoding="utf-8")


def test_it_parses_on_pythons_that_are_far_too_old():
    ast.parse(SOURCE, feature_version=(3, 7))
    assert not [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.JoinedStr)]  # 3.5 knows no f""


def test_a_python_that_is_too_old_gets_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    assert run_server.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("error: Python 3.11 or newer is needed, and this is 3.8.18")
    assert said.count("\n") == 1
