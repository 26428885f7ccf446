"""`python -m app` has the commands of `task-service` beside its own."""

import importlib
import sys

import pytest

from app.__main__ import main


def test_has_the_commands_of_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queues", "ls"]) == 4
    assert "Run `task-service login URL`" in capsys.readouterr().err
    assert main(["submit", "--help"]) == 0
    assert "--wait" in capsys.readouterr().out


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


def test_app_client_is_the_client_and_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import app.client
    from task_service_client import Client

    assert app.client.Client is Client
    monkeypatch.setitem(sys.modules, "task_service_client", None)
    with pytest.raises(ModuleNotFoundError, match=r"task-service-client: pip install \./client"):
        importlib.reload(app.client)
