"""What was given wins; what was made once is kept."""

import subprocess
import sys

import pytest

from app.core.config import Settings
from app.core.secret_files import SecretFileError
from app.launcher.environment import BROKER, DATABASE, PASSWORD, STORAGE, Environment, names_of_settings, read_env
from tests.support.services import ROOT

NAMES = ("DATABASE_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "SECRET_KEY", "WEBHOOK_SECRET", "RETENTION_DAYS")


@pytest.fixture
def make(tmp_path, monkeypatch):
    for name in (*NAMES, "FIRST_ADMIN_USERNAME", "FIRST_ADMIN_EMAIL", PASSWORD, STORAGE, "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    return lambda: Environment(tmp_path, tmp_path / "env")


def test_secrets_are_made_once_and_kept(make):
    first = make()
    first.write()
    again = make()
    assert len(first.values["SECRET_KEY"]) >= 32
    assert again.values == first.values
    assert first.password_is_new
    assert not again.password_is_new


def test_what_the_environment_gives_wins_over_dotenv_and_both_over_what_was_kept(make, tmp_path, monkeypatch):
    make().write()
    (tmp_path / ".env").write_text("SECRET_KEY=from-dotenv\nFIRST_ADMIN_USERNAME=boss\n")
    monkeypatch.setenv("SECRET_KEY", "from-environment")
    values = make().values
    assert values["SECRET_KEY"] == "from-environment"
    assert values["FIRST_ADMIN_USERNAME"] == "boss"


def test_a_secret_in_a_file_is_given_and_the_parts_get_it_once(make, tmp_path, monkeypatch):
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    (tmp_path / ".env").write_text(f"DATABASE_URL_FILE={tmp_path / 'url'}\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    environment = make()
    assert (environment.values["SECRET_KEY"], environment.values[DATABASE]) == ("from-file", "postgresql://u:p@h/d")
    assert "SECRET_KEY_FILE" not in environment.for_parts() | environment.for_imports()
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(SecretFileError, match=r"SECRET_KEY_FILE: .* cannot be read"):
        make()


def test_a_server_named_in_dotenv_is_used_and_no_other_is_made_up(make, tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://u:p@h/d\nCELERY_BROKER_URL=\n")
    values = make().values
    assert values[DATABASE] == "postgresql://u:p@h/d"
    assert BROKER not in values
    assert "CELERY_RESULT_BACKEND" not in values


def test_files_are_in_the_data_directory_unless_another_storage_is_named(make, tmp_path, monkeypatch):
    assert make().values[STORAGE] == (tmp_path / "files").as_uri()
    (tmp_path / ".env").write_text("STORAGE_URL=s3://from-dotenv\n")
    assert make().values[STORAGE] == "s3://from-dotenv"
    monkeypatch.setenv(STORAGE, "s3://from-environment")
    assert make().values[STORAGE] == "s3://from-environment"


def test_the_embedded_servers_of_an_earlier_start_are_not_taken_for_given(make):
    first = make()
    first.values.update({DATABASE: "postgresql://embedded", BROKER: "redis://embedded"})
    first.write()
    assert DATABASE not in make().values


def test_nor_are_they_in_a_shell_that_has_sourced_their_file(make, monkeypatch):
    first = make()
    first.name_embedded(DATABASE, "postgresql://embedded")
    first.values[BROKER] = "redis://theirs"
    first.write()
    for name, value in first.values.items():
        monkeypatch.setenv(name, value)
    assert DATABASE not in make().values
    assert make().values[BROKER] == "redis://theirs"
    monkeypatch.setenv(DATABASE, "postgresql://another")
    assert make().values[DATABASE] == "postgresql://another"


def test_settings_of_the_service_are_written_and_other_variables_are_not(make, monkeypatch, tmp_path):
    monkeypatch.setenv("RETENTION_DAYS", "7")
    monkeypatch.setenv("UNRELATED", "1")
    made = make()
    made.write()
    assert read_env(tmp_path / "env")["RETENTION_DAYS"] == "7"
    assert "UNRELATED" not in made.values
    assert made.for_parts()["UNRELATED"] == "1"


def test_the_import_path_is_written_for_any_working_directory(make, monkeypatch, tmp_path):
    """A shell that sources the file finds the modules that TASK_MODULES names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "mine:/srv/theirs")
    monkeypatch.setenv("TASK_MODULES", "myteam.tasks")
    made = make()
    made.write()
    kept = read_env(tmp_path / "env")
    assert kept["TASK_MODULES"] == "myteam.tasks"
    assert kept["PYTHONPATH"] == made.for_parts()["PYTHONPATH"] == f"{tmp_path}/mine:/srv/theirs"


def test_an_import_path_that_was_not_set_is_not_made_up(make):
    assert "PYTHONPATH" not in make().values


def test_parts_write_bytecode_in_any_case(make, tmp_path, monkeypatch):
    """Below the data directory where the sources cannot be written to."""
    (tmp_path / "app").mkdir()
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for of_parts in (make().for_parts(), make().for_imports()):
        assert "PYTHONDONTWRITEBYTECODE" not in of_parts
        assert "PYTHONPYCACHEPREFIX" not in of_parts
    monkeypatch.setattr("os.access", lambda *_: False)
    for of_parts in (make().for_parts(), make().for_imports()):
        assert of_parts["PYTHONPYCACHEPREFIX"] == str(tmp_path / "pycache")


@pytest.mark.parametrize("named", ["shop.tasks,shop.more pages", '["shop.tasks", "pages"]'])
def test_the_packages_of_the_task_modules_are_known(make, monkeypatch, named):
    monkeypatch.setenv("TASK_MODULES", named)
    assert make().task_packages() == {"shop", "pages"}


def test_modules_are_found_in_the_project_and_on_the_import_path(make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert make().import_path() == [str(tmp_path)]
    monkeypatch.setenv("PYTHONPATH", "mine:/srv/theirs")
    assert make().import_path() == [str(tmp_path), f"{tmp_path}/mine", "/srv/theirs"]


def test_the_names_of_the_settings_are_those_of_the_class():
    assert names_of_settings() == {name.upper() for name in Settings.model_fields}


def test_the_process_of_the_launcher_has_no_module_of_the_parts(tmp_path):
    program = (
        "import sys; from pathlib import Path; import app.launcher.server; "
        "from app.launcher.environment import Environment; "
        f"Environment(Path({str(tmp_path)!r}), Path({str(tmp_path / 'env')!r})); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"pydantic", "sqlalchemy", "celery", "fastapi"} & set(run.stdout.split()) == set()
