"""A terminal gets nothing that steers it, whoever has chosen a name; a pipe gets what there is."""

import json
import sys
from pathlib import Path

import pytest

from task_service_client import ApiError
from task_service_client.cli import task_types
from task_service_client.cli.columns import Column
from task_service_client.cli.command import guarded
from task_service_client.cli.data import write_each, write_line, write_list, write_one, write_values
from task_service_client.cli.run import Run
from task_service_client.cli.tasks import _log_line

CONTROLS = "\x1b[31m\x07\x7f\x9b\u202e\u2066"
ROW = {"id": "1", "name": f"a{CONTROLS}b"}
AGES = (Column("progress", "DONE", "percent"), Column("size", "SIZE", "bytes"), Column("at", "AGE", "ago"))
STEERING = {*CONTROLS} - {*"[31m"}


def test_values_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    named = Run(fields=("name",))
    write_values(ROW, ["id", "name"])
    write_one(named, ROW)
    write_each(named, [ROW, ROW])
    write_list(named, [ROW], ())
    write_list(Run(fields=("status",)), [{"status": ROW["name"]}], ())
    write_list(Run(fields=("progress", "size", "at")), [dict.fromkeys(("progress", "size", "at"), ROW["name"])], AGES)
    write_one(Run(), {CONTROLS: 1, **dict.fromkeys(("progress", "status", "size", "created_at", "x"), CONTROLS)})
    _log_line({"level": CONTROLS, "message": CONTROLS, "at": "2026-12-01T08:00:00Z"})
    said = capsys.readouterr().out
    assert said.count("�[31m") == 6 + 3 + 6 + 2
    assert not STEERING & {*said}


def test_names_of_tasks_that_steer_are_not_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_SERVICE_URL", "http://service.example")
    task_types._keep("http://service.example", ["app.tasks.导入", CONTROLS, "a\nb", "$(x)", "a b", "app:x-y"])
    assert task_types.completed("a") == ["app.tasks.导入", "app:x-y"]


def test_a_pipe_gets_them_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    write_values(ROW, ["name"])
    assert capsys.readouterr().out == f"{ROW['name']}\n"


def test_json_escapes_them_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    write_line(Run(output="jsonl"), ROW)
    write_one(Run(output="json"), ROW)
    lines = capsys.readouterr().out
    assert not STEERING & {*lines}
    first, _, second = lines.partition("\n")
    assert json.loads(first) == json.loads(second) == ROW


def test_errors_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise ApiError(409, {"code": "x", "detail": f"no {CONTROLS}"}, None)

    assert guarded(refuse) == 1
    assert not STEERING & {*capsys.readouterr().err}
