"""Rules of the house that no linter knows."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
# The launcher and the command start processes, which need a whole environment; PROMETHEUS_MULTIPROC_DIR is read by
# prometheus_client itself, and `metrics.py` asks whether it is there.
READS_THE_ENVIRONMENT = ("app/core/config.py", "app/launcher/", "app/__main__.py", "app/core/metrics.py")
# All but the shell around HTTP, and what starts processes.
BELOW = ("broker", "core", "db", "dispatch", "keeper", "live", "models", "outbound", "schedules", "schemas", "services",
         "tasks", "worker")  # fmt: skip


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((APP / folder).rglob("*.py"))]
    assert found, f"no sources in {folders}"
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def importers(paths: list[Path], *packages: str) -> list[str]:
    return [name_of(path) for path in paths if any(name.split(".")[0] in packages for name in imports(path))]


class TestLayers:
    def test_only_the_api_knows_http(self) -> None:
        assert importers(sources(*BELOW), "fastapi", "starlette") == []

    def test_nothing_below_imports_the_api(self) -> None:
        assert [
            name_of(path) for path in sources(*BELOW) if any(name.startswith("app.api") for name in imports(path))
        ] == []

    @pytest.mark.parametrize("folder", ["api", "tasks"])
    def test_endpoints_and_tasks_never_commit(self, folder: str) -> None:
        committing = re.compile(r"\.commit\(")
        assert [name_of(path) for path in sources(folder) if committing.search(path.read_text(encoding="utf-8"))] == []

    def test_settings_alone_read_the_environment(self) -> None:
        reading = re.compile(r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b")
        found = [name_of(path) for path in sources("") if reading.search(path.read_text(encoding="utf-8"))]
        assert [name for name in found if not name.startswith(READS_THE_ENVIRONMENT)] == []


class TestDependencies:
    def test_jwt_library_stays_in_one_file(self) -> None:
        assert importers(sources(""), "jose") == ["app/core/security.py"]

    def test_nothing_imports_ecdsa_by_itself(self) -> None:
        assert importers(sources(""), "ecdsa") == []

    def test_ecdsa_is_never_loaded(self) -> None:
        """It comes along with python-jose and has timing leaks: neither the API nor a worker may load it."""
        program = "import sys, app.main, app.celery_app, app.core.security; sys.exit('ecdsa' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr or "ecdsa was loaded"

    def test_passlib_is_the_maintained_one(self) -> None:
        """Both distributions provide `import passlib` and overwrite each other's files without a word."""
        names = {(each.metadata["Name"] or "").lower() for each in importlib.metadata.distributions()}
        assert "libpass" in names
        assert "passlib" not in names

    def test_the_api_loads_no_scientific_library_and_no_pool(self) -> None:
        heavy = (
            "'sklearn', 'numpy', 'scipy', 'pandas', 'matplotlib', 'pyarrow', 'zxcvbn', 'alembic', "
            "'celery.concurrency.prefork', 'billiard.pool'"
        )
        load = "import sys, app.main; from app.catalogue import catalogue; catalogue()"  # as its start does
        program = f"{load}; sys.exit(', '.join(name for name in ({heavy}) if name in sys.modules) or 0)"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr or "it was loaded"
