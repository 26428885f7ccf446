"""`python -m app` has the commands of `task-service` beside its own."""

import importlib
import io
import os
import re
import sys

import pytest

import app.__main__ as program
from app.__main__ import main
from app.doctor.findings import ok
from app.errors import Text
from task_service_client.cli.app import ACCESS, SERVICE, TASKS


def test_has_the_commands_of_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queues", "ls"]) == 4
    assert "Run `task-service login URL`" in capsys.readouterr().err
    assert main(["submit", "--help"]) == 0
    assert "--wait" in capsys.readouterr().out


def test_lists_the_commands_of_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = set(re.findall(r"^│ ([a-z-]+) ", capsys.readouterr().out, re.MULTILINE))
    assert {*ACCESS, *TASKS, *SERVICE, "serve", "migrate"} <= listed


def test_has_its_own_alone_without_the_client(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    for name in [each for each in sys.modules if each.startswith("task_service_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "task_service_client", None)
    assert main(["submit"]) == 2
    assert "No such command" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "migrate" in capsys.readouterr().out


def test_takes_streams_of_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding="ascii", write_through=True) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["ls", "--help"]) == 0
        assert b"???" in written.getvalue()


def test_takes_a_closed_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.doctor.checks.examine", lambda _: [(Text("database"), [ok(Text("it answers"))])])
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["doctor"]) == 0
    assert sys.stdout.name == os.devnull
    sys.stdout.close()


def test_ctrl_c_is_one_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "cli", interrupt)
    assert main(["check"]) == 130


def test_app_client_is_the_client_and_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import app.client
    from task_service_client import Client

    assert app.client.Client is Client
    monkeypatch.setitem(sys.modules, "task_service_client", None)
    with pytest.raises(ModuleNotFoundError, match=r"task-service-client: pip install \./client"):
        importlib.reload(app.client)
