"""Rules of the house that no linter knows."""

import ast
import functools
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.services import SECRET_KEY
from tests.support.sources import app_files, name_of, run_program, text_of, without_users_tasks

# The launcher and the command start processes, which need a whole environment; PROMETHEUS_MULTIPROC_DIR is read by
# prometheus_client itself, and `metrics.py` asks whether it is there.
READS_THE_ENVIRONMENT = (
    "app/core/config.py", "app/launcher/", "app/__main__.py", "app/core/metrics.py", "app/api/http/telemetry.py",
)  # fmt: skip
# All but the shell around HTTP, and what starts processes.
BELOW = ("beat", "core", "db", "live", "maintenance", "messaging", "models", "outbound", "schemas", "services", "tasks",
         "worker")  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def importers(paths: list[Path], *packages: str) -> list[str]:
    return [name_of(path) for path in paths if any(name.split(".")[0] in packages for name in imports(path))]


class TestLayers:
    def test_only_the_api_knows_http(self) -> None:
        assert importers(app_files(*BELOW), "fastapi", "starlette") == []

    def test_endpoints_and_tasks_never_commit(self) -> None:
        assert [name_of(path) for path in app_files("api", "tasks") if ".commit(" in text_of(path)] == []

    def test_settings_alone_read_the_environment(self) -> None:
        reading = re.compile(r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b")
        found = [name_of(path) for path in app_files() if reading.search(text_of(path))]
        assert [name for name in found if not name.startswith(READS_THE_ENVIRONMENT)] == []


class TestDependencies:
    def test_jwt_library_stays_in_one_file(self) -> None:
        assert importers(app_files(), "jose") == ["app/core/security.py"]

    def test_passlib_is_the_maintained_one(self) -> None:
        """Both distributions provide `import passlib` and overwrite each other's files without a word."""
        names = {(each.metadata["Name"] or "").lower() for each in importlib.metadata.distributions()}
        assert "libpass" in names
        assert "passlib" not in names


# As their starts do: the API reads the catalogue, a token and its own health, a worker imports its tasks.
API_START = """
import app.main
from datetime import UTC, datetime
from uuid import uuid4
from app.core.security import create_access_token, read_access_token
from app.db.schema_version import schema_fault
from app.catalogue import catalogue
catalogue()
assert schema_fault
read_access_token(create_access_token(uuid4(), uuid4(), datetime.now(UTC)))
"""
WORKER_START = "import app.celery_app; app.celery_app.celery_app.loader.import_default_modules()"
LISTS = ("zxcvbn", "frequency_lists")
SCIENCE = ("sklearn", "numpy", "scipy", "pandas", "matplotlib", "pyarrow")


@functools.cache
def loaded_by(program: str) -> set[str]:
    """The modules, and the packages that they belong to, of a process that has run this."""
    loaded = run_program(
        without_users_tasks(f"{program}\nimport sys; print(*sys.modules)"), SECRET_KEY=SECRET_KEY
    ).split()
    return {name for module in loaded for name in (module, module.partition(".")[0])}


class TestWhatIsLoaded:
    def test_never_ecdsa(self) -> None:
        """It comes along with python-jose and has timing leaks. No file imports it either."""
        assert importers(app_files(), "ecdsa") == []
        assert "ecdsa" not in loaded_by(API_START) | loaded_by(WORKER_START)

    def test_the_api_loads_nothing_that_one_task_or_another_process_needs(self) -> None:
        never = {*SCIENCE, *LISTS, "alembic", "celery.concurrency.prefork", "billiard.pool"}
        assert never & loaded_by(API_START) == set()

    def test_a_worker_loads_nothing_that_one_task_or_another_process_needs(self) -> None:
        never = {*SCIENCE, *LISTS, "jose", "passlib", "argon2", "httpx", "fastapi", "alembic"}
        assert never & loaded_by(WORKER_START) == set()

    def test_the_word_lists_of_passwords_are_loaded_in_no_process_that_sets_one(self) -> None:
        """Fourteen megabytes more, in every process in which a password was ever set."""
        program = "from app.core.password_strength import weakness; assert weakness('passwordpassword', [])"
        assert set(LISTS) & loaded_by(program) == set()


class TestImporting:
    """The order in which a process imports the service's modules does not matter, and importing configures nothing."""

    @pytest.mark.parametrize("first", ["app.celery_app", "app.tasks.base", "app.tasks.common_tasks", "app.catalogue"])
    def test_a_module_of_tasks_may_import_the_base_and_the_application(self, first: str) -> None:
        run_program(f"import {first}; from app.celery_app import SQLAlchemyTask, celery_app; import app.tasks.base")

    def test_it_reads_no_settings_and_patches_nothing(self) -> None:
        """With settings that are refused: whatever reads them raises."""
        program = (
            "import app.celery_app, app.tasks, app.worker.bootsteps, app.catalogue, app.beat.scheduler, app.testing;"
            "from celery.app import trace; from celery.utils.saferepr import saferepr; from celery import signals;"
            "from kombu.transport import TRANSPORT_ALIASES;"
            "assert trace.saferepr is saferepr and 'app' not in TRANSPORT_ALIASES['redis'];"
            "assert not signals.before_task_publish.receivers and not signals.task_postrun.receivers;"
            "assert not app.celery_app.celery_app.configured"
        )
        run_program(without_users_tasks(program), MAX_CRASHES="none")
