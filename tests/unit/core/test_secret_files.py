"""`NAME_FILE` names the file that holds a secret, for every setting that is one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.core import secret_files
from app.core.config import ConfigurationError, Settings, get_settings, setting_warnings
from app.core.setting_fields import secret_names
from app.launcher.environment import names_of_settings

KEY = "2f1c7e0b9a8d4c6e5f3a1b2c3d4e5f60718293a4"
Place = Callable[[bytes], Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Makes a file of a secret. No setting of this machine counts."""
    for name in secret_names(Settings):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))

    def make(content: bytes) -> Path:
        (tmp_path / "secret").write_bytes(content)
        return tmp_path / "secret"

    return make


def read() -> Settings:
    return get_settings.__wrapped__()


def test_are_those_of_the_launcher_too() -> None:
    assert set(secret_names(Settings)) == names_of_settings("SecretStr") >= {"SECRET_KEY", "DATABASE_URL"}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_file_is_the_secret_without_its_last_line_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", str(place(f"{KEY}{end}".encode())))
    settings = read()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == KEY
    assert [*setting_warnings(settings)] == []


def test_a_list_of_secrets_may_stand_in_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_PREVIOUS_FILE", str(place(f"{KEY},{KEY}2".encode())))
    assert [each.get_secret_value() for each in read().secret_key_previous] == [KEY, f"{KEY}2"]


def test_what_it_holds_is_checked_as_the_setting_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL_FILE", str(place(b"hidden-words")))
    with pytest.raises(ConfigurationError, match="CELERY_BROKER_URL: must be a URL of a broker") as refused:
        read()
    assert "hidden" not in str(refused.value)


def test_env_file_may_name_it_and_a_variable_wins(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"SECRET_KEY_FILE={place(KEY.encode())}\n")
    settings = read()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == KEY
    monkeypatch.setenv("SECRET_KEY", "other")
    settings = read()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "other"


@pytest.mark.parametrize(
    ("content", "more", "line"),
    [
        (KEY.encode(), {"SECRET_KEY": KEY}, "SECRET_KEY and SECRET_KEY_FILE are both set: leave one of them out"),
        (b"\n", {}, "SECRET_KEY_FILE: {} is empty"),
        (b"\xff", {}, "SECRET_KEY_FILE: {} is not in UTF-8"),
        (b"x" * (secret_files.MOST_BYTES + 1), {}, "SECRET_KEY_FILE: {} is larger than 65536 bytes: no secret is"),
        (None, {}, "SECRET_KEY_FILE: {} cannot be read: No such file or directory"),
    ],
)
def test_is_refused_in_one_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, content: bytes | None, more: dict[str, str], line: str
) -> None:
    path = place(content or b"")
    if content is None:
        path.unlink()
    for name, value in {"SECRET_KEY_FILE": str(path), **more}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        read()
    assert str(refused.value) == "configuration: " + line.format(path)
