"""Rules of the house that no linter knows."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.requirements_files import locked
from tests.support.services import SECRET_KEY
from tests.support.sources import app_files, assert_none, name_of, run_program, text_of, without_users_tasks

# The launcher and the command start processes, which need a whole environment; PROMETHEUS_MULTIPROC_DIR is read by
# prometheus_client itself, and `metrics.py` asks whether it is there; polars takes the size of its pieces from nothing
# else, and `engine.py` writes it there.
READS_THE_ENVIRONMENT = (
    "app/core/config.py", "app/core/config.py", "app/launcher/", "app/__main__.py", "app/core/metrics.py", "app/api/http/middleware.py",
    "app/tasks/data/engine.py",
)  # fmt: skip
# All but the shell around HTTP, and what starts processes.
BELOW = (
    "app/beat/", "app/core/", "app/db/", "app/ddl/", "app/live/", "app/maintenance/", "app/messaging/", "app/models/",
    "app/outbound/", "app/schemas/", "app/services/", "app/tasks/", "app/worker/",
)  # fmt: skip


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The lines and names of what a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def importers(*packages: str, below: tuple[str, ...] = ("app/",)) -> list[str]:
    """Each line in these folders that imports one of the packages."""
    return [
        f"{name_of(path)}:{line}: {name}"
        for path in app_files()
        if name_of(path).startswith(below) and any(package in text_of(path) for package in packages)
        for line, name in imports(path)
        if name.split(".")[0] in packages
    ]


def places(pattern: str, paths: list[Path]) -> list[str]:
    """Each line that the pattern is found in."""
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]


class TestLayers:
    def test_only_the_api_knows_http(self) -> None:
        assert importers("fastapi", "starlette")
        assert_none(importers("fastapi", "starlette", below=BELOW))

    def test_endpoints_and_tasks_never_commit(self) -> None:
        """Services do, each public method once."""
        assert_none(places(r"\.commit\(", app_files("api", "tasks")))

    def test_settings_alone_read_the_environment(self) -> None:
        found = places(r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b", app_files())
        assert found
        assert_none(place for place in found if not place.startswith(READS_THE_ENVIRONMENT))


class TestDependencies:
    def test_jwt_library_stays_in_one_file(self) -> None:
        assert {place.partition(":")[0] for place in importers("jose")} == {"app/core/security.py"}
        assert_none(importers("ecdsa"))

    def test_passlib_is_the_maintained_one(self) -> None:
        """Both distributions provide `import passlib` and overwrite each other's files without a word."""
        installed = {(each.metadata["Name"] or "").lower() for each in importlib.metadata.distributions()}
        for names in (installed, {pin.name for pin in locked()}):
            assert "libpass" in names
            assert "passlib" not in names


# As their starts do: the API reads the catalogue, a token and its own health, and sets a password; a worker imports its
# tasks.
API_START = """
import app.main
from datetime import UTC, datetime
from uuid import uuid4
from app.core.credentials import weakness
from app.core.security import create_access_token, read_access_token
from app.db.compatibility import schema_fault
from app.catalogue import catalogue
catalogue()
assert schema_fault
assert weakness("passwordpassword", [])
read_access_token(create_access_token(uuid4(), uuid4(), datetime.now(UTC)))
"""
# The command's words are read, the part does not run.
PART_START = """
from app.messaging.command_line import main
try:
    main(["{part}", "--help"])
except SystemExit:
    import app.celery_app
    app.celery_app.celery_app.loader.import_default_modules()
"""
WORKER_START = PART_START.format(part="worker") + "import app.worker.bootsteps"
BEAT_START = PART_START.format(part="beat") + "import app.beat.scheduler"
# Its database is not there; the command has imported all that it needs by then.
COMMAND = "from app.__main__ import main; main(['{command}'])"
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/none"
# What one task or another process needs: scientific packages, and the word lists of passwords, fourteen megabytes more in
# every process in which a password was ever set; and the leaky ecdsa that comes along with python-jose.
NEVER = {
    "sklearn", "numpy", "scipy", "polars", "skops", "pandas", "matplotlib", "pyarrow", "alembic", "ecdsa", "zxcvbn", "frequency_lists",
    "passlib", "argon2", "httpx", "mcp", "mcp_types", "httpx2", "sse_starlette", "app.doctor",
}  # fmt: skip
# What Celery's command line brings along, in these tests with Flower, and typer for its help.
OF_TERMINALS = {"prompt_toolkit", "click_repl", "wcwidth", "pygments", "rich", "flower", "tornado"}
OF_CELERY = {"celery", "kombu", "amqp", "redis", "app.tasks", "app.messaging.application"}
OF_HTTP = {"fastapi", "starlette", "uvicorn", "jinja2", "app.api", "app.web", "app.mcp"}
# The first token imports it, with ciphers: 8 MiB.
OF_TOKENS = {"jose", "cryptography.hazmat.bindings._rust"}


def loaded_by(program: str, **settings: str) -> set[str]:
    """The modules, and the packages that they belong to, of a process that has run this."""
    said = run_program(
        without_users_tasks(f"{program}\nimport sys; print(*sys.modules)"), SECRET_KEY=SECRET_KEY, **settings
    )
    loaded = said.splitlines()[-1].split()
    return {name for module in loaded for name in (module, module.partition(".")[0])}


class TestWhatIsLoaded:
    def test_the_api_loads_nothing_that_one_task_or_another_process_needs(self) -> None:
        loaded = loaded_by(API_START)
        assert (NEVER | OF_TERMINALS | {"typer", "celery.concurrency.prefork", "billiard.pool"}) & loaded == set()
        assert {name for name in loaded if name.startswith("app.worker")} == set()

    def test_the_api_loads_the_pages_where_they_are_served(self) -> None:
        """They and their templates take 3 MiB."""
        loaded = loaded_by("import app.main", WEB_UI="false")
        assert loaded & OF_TOKENS == set()
        assert {name for name in loaded if name == "jinja2" or name.startswith("app.web.views")} == set()

    def test_the_api_builds_validators_at_their_first_use(self) -> None:
        """Those of the bodies, of the pages' forms, and of FastAPI's models of the OpenAPI document."""
        program = """
import app.main, fastapi.openapi.models
from app.schemas.base import RequestModel, ResponseModel
def below(kind):
    return [kind, *(found for each in kind.__subclasses__() for found in below(each))]
kinds = [*below(RequestModel), *below(ResponseModel), fastapi.openapi.models.PathItem]
assert len(kinds) > 50
print(*(kind.__name__ for kind in kinds if kind.__pydantic_complete__))
"""
        assert run_program(program, SECRET_KEY=SECRET_KEY).split() == ["WaitingFor"]  # of which there are constants

    @pytest.mark.parametrize("start", [WORKER_START, BEAT_START], ids=["worker", "beat"])
    def test_a_worker_and_beat_load_nothing_that_one_task_or_another_process_needs(self, start: str) -> None:
        assert (NEVER | OF_TOKENS | OF_TERMINALS | OF_HTTP | {"typer"}) & loaded_by(start) == set()

    def test_migrate_loads_the_tables_and_alembic(self) -> None:
        loaded = loaded_by(COMMAND.format(command="migrate"), DATABASE_URL=NO_DATABASE)
        assert {"alembic", "app.models"} <= loaded
        # Alembic's templates bring pygments along.
        kept_out = NEVER - {"alembic"} | OF_TERMINALS - {"pygments"} | OF_CELERY | OF_HTTP | {"app.services"}
        assert kept_out & loaded == set()

    def test_create_admin_loads_what_makes_a_user(self) -> None:
        admin = {"FIRST_ADMIN_USERNAME": "root", "FIRST_ADMIN_PASSWORD": "correct horse battery staple"}
        loaded = loaded_by(COMMAND.format(command="create-admin"), DATABASE_URL=NO_DATABASE, **admin)
        assert "app.services.user_service" in loaded
        assert (NEVER - {"passlib", "argon2"} | OF_TERMINALS | OF_CELERY | OF_HTTP) & loaded == set()

    @pytest.mark.parametrize("command", ["worker", "beat", "serve"])
    def test_a_command_that_gives_way_to_another_program_loads_none_of_it(self, command: str) -> None:
        program = f"from unittest.mock import patch\nwith patch('os.execv', return_value=0): {COMMAND.format(command=command)}"
        assert {"celery", "sqlalchemy", "pydantic", "uvicorn", "alembic"} & loaded_by(program) == set()


# Each line is imported by a process that has nothing of the service yet: a fork of one that has what takes long. Any
# module of tasks begins with their package.
FIRST = ["app.celery_app", "app.tasks.base", "app.catalogue", "app.worker.bootsteps app.beat.scheduler app.testing"]
IMPORTING = """
import gc, importlib, os, sys
gc.disable()  # a sixth of the time
import celery.app.trace, kombu, pydantic_settings, sqlalchemy.orm
from celery import signals
from celery.utils.saferepr import saferepr
from kombu.transport import TRANSPORT_ALIASES

failed = []
for line in sys.argv[1:]:
    if os.fork():
        failed += [line] if os.wait()[1] else []
        continue
    for name in [*line.split(), "app.celery_app", "app.tasks.base"]:
        importlib.import_module(name)
    from app.celery_app import SQLAlchemyTask, celery_app
    assert celery.app.trace.saferepr is saferepr and "app" not in TRANSPORT_ALIASES["redis"]
    assert not signals.before_task_publish.receivers and not signals.task_postrun.receivers
    assert not celery_app.configured
    os._exit(0)
if failed:
    sys.exit(f"fail where they are imported first: {failed}")
"""


def test_modules_are_imported_in_any_order_and_configure_nothing() -> None:
    """With settings that are refused: whatever reads them raises."""
    run_program(without_users_tasks(f"import sys; sys.argv += {FIRST}\n{IMPORTING}"), MAX_CRASHES="none")
