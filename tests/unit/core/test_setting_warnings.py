"""A misspelt setting and a weak key are told, a line each, without a value."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.core import config as warnings
from app.core.config import Settings
from app.core.nearest import edits, nearest
from tests.support.services import ROOT
from tests.support.settings import settings
from tests.support.sources import text_of
from tests.support.tables import check_rows

MISSPELT = "configuration: {} is no setting, did you mean {}: it has no effect"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))
    return tmp_path / ".env"


def told(**given: Any) -> list[str]:
    return list(warnings.setting_warnings(Settings(**given)))


def test_a_misspelt_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTA_RUNING_TASKS", "hidden-5")
    assert told() == [MISSPELT.format("QUOTA_RUNING_TASKS in the environment", "QUOTA_RUNNING_TASKS")]


def test_other_names_of_the_environment_are_not_ours() -> None:
    names = ["PATH", "HOME", "EDITOR", "LC_ALL", "APPDATA", "CELERY_LOG_LEVEL", "API_PORT", "quota_running_tasks"]
    assert list(warnings.misspelt_names(dict.fromkeys(names, "x"), {})) == []


def test_every_unknown_name_in_the_file(env_file: Path) -> None:
    env_file.write_text(
        "DATABSE_URL=hidden\nFAVOURITE_COLOUR=hidden\nQUOTA_RUNNING_TASKS=3\nPOSTGRES_PASSWORD=x\nCELERY_LOG_LEVEL=x\n"
        "COMPOSE_PROJECT_NAME=x\n# NOT_THIS=x\n"
    )
    assert told() == [
        MISSPELT.format("DATABSE_URL in .env", "DATABASE_URL"),
        "configuration: FAVOURITE_COLOUR in .env is no setting: it has no effect",
    ]


def test_settings_that_are_fixed_now_are_told_together(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("events_poll_seconds=hidden\nMAX_HEADERS=hidden\n")
    monkeypatch.setenv("MAX_HEADERS", "hidden")
    monkeypatch.setenv("LOGINS_PER_ACCOUNT", "hidden")
    fixed = "EVENTS_POLL_SECONDS, LOGINS_PER_ACCOUNT, MAX_HEADERS"
    assert told() == [f"configuration: no settings any more, their values are fixed: {fixed}; remove them"]


def test_none_of_them_is_a_setting() -> None:
    assert {name.upper() for name in Settings.model_fields}.isdisjoint(warnings.FIXED)


def test_a_line_that_is_no_assignment_is_told_by_its_number(env_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rest of a wrapped secret must not become a name."""
    env_file.write_text(
        "FIRST_ADMIN_USERNAME=first\nhidden-rest-of-a-password\npostgresql://user:hidden@db/x\nRETENTION_DAYS: 5\n"
        "redis://:hidden@host:6379/0=\nMIIEhidden\nQUOTA_RUNNING_TASKS=3\n"
    )
    with settings({}):
        Settings()
    lines = told()
    assert lines == [f"configuration: line {at} of .env is not NAME=value: it has no effect" for at in (2, 3, 4, 5, 6)]
    assert caplog.messages == []  # python-dotenv's own


def test_what_compose_asks_for_is_known() -> None:
    asked = set(re.findall(r"\$\{(\w+)", text_of(ROOT / "docker-compose.yml")))
    assert asked - {name.upper() for name in Settings.model_fields} == warnings.OF_COMPOSE


def test_a_weak_key() -> None:
    def check(key: str, lines: int) -> None:
        found = told(secret_key=key)
        assert len(found) == lines
        assert key not in "".join(found)

    check_rows(
        check, [("tiny-key", 1), ("a" * 64, 1), ("your-secret-key", 1), ("2f1c7e0b9a8d4c6e5f3a1b2c3d4e5f60718293a4", 0)]
    )


def test_each_is_logged_once_in_a_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(warnings, "_logged_warnings", set())
    monkeypatch.setenv("LOG_FORMATT", "json")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            warnings.warn_of_settings(Settings(secret_key="short"))
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["configuration:", "SECRET_KEY"]


def test_the_command_that_checks_says_them_and_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.catalogue.read_tasks", lambda: ({}, []))
    with settings({"QUOTA_RUNING_TASKS": "5", "SECRET_KEY": "short"}):
        answer = CliRunner().invoke(cli, ["check"])
    assert answer.exit_code == 0
    assert MISSPELT.format("QUOTA_RUNING_TASKS in the environment", "QUOTA_RUNNING_TASKS") in answer.stderr
    assert "CELERY_RESULT_BACKEND is not set" in answer.stderr
    assert "SECRET_KEY is short or a placeholder: good enough for development only" in answer.stderr


def test_edits() -> None:
    def check(one: str, other: str, found: int) -> None:
        assert edits(one, other, 2) == found
        assert edits(other, one, 2) == found

    check_rows(check, [
        ("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "abcd", 1), ("abc", "acb", 2), ("kitten", "sitting", 3),
        ("a", "abcd", 3), ("abcd", "wxyz", 3),
    ])  # fmt: skip


def test_the_nearest() -> None:
    assert nearest("STATE", ["status", "tag"]) == "status"
    assert nearest("x" * 100_000, ["status", "x" * 100]) == "x" * 100
    assert nearest("zzz", ["status"]) is None
    assert nearest("a", []) is None
