"""The service as a package: a wheel, installed far from the checkout, migrates, serves and works."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.support.running import Running
from tests.support.services import ROOT, Services, process_environment
from tests.support.stack import Stack

OF_PAGES = {".html", ".css", ".js", ".svg", ".json"}
SLEEP = "app.tasks.common_tasks.long_running_task"
TRAIN = "app.tasks.model_tasks.train_classifier"
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"

pytestmark = pytest.mark.skipif(
    find_spec("ensurepip") is None, reason="this Python has no ensurepip: no pip installs the wheel"
)


def run(command: Sequence[str | Path], cwd: Path, **variables: str) -> str:
    """What the command writes; an AssertionError with all of it where it fails."""
    done = subprocess.run(command, cwd=cwd, env=process_environment({"PYTHONPATH": "", **variables}),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since setuptools writes beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "app", source / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-c", BUILD, "build_wheel", built], source)
    (made,) = built.glob("*.whl")
    return made


def data() -> set[str]:
    """What app/ holds beside code: the files of the pages, the texts of errors and of the doctor, and the schema of each engine."""
    pages = {path for path in (ROOT / "app" / "web").rglob("*.*") if path.suffix in OF_PAGES}
    texts = {
        path for package in ("core", "doctor") for path in (ROOT / "app" / package / "translations").glob("*.json")
    }
    baselines = set((ROOT / "app" / "migrations" / "baselines").glob("*.sql"))
    assert len(baselines) == 3
    return {path.relative_to(ROOT).as_posix() for path in pages | texts | baselines} | {"app/py.typed"}


def new_venv(directory: Path) -> Path:
    """The Python of a fresh environment with pip."""
    run([sys.executable, "-m", "venv", directory / "venv"], directory)
    return directory / "venv" / "bin" / "python"


@pytest.fixture(scope="module")
def beside_the_tests_packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel alone, which finds all other packages in that of the tests."""
    directory = tmp_path_factory.mktemp("elsewhere")
    python = new_venv(directory)
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], directory)
    (packages,) = (directory / "venv").glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


@pytest.fixture
def stack(services: Services, tmp_path: Path) -> Iterator[Stack]:
    """On an empty database, with nothing of the checkout on the import path."""
    with Stack(services, tmp_path, template="template1", PYTHONPATH="", WEB_UI="true") as started:
        started.application = "app"
        yield started


def works(stack: Stack, python: Path, tmp_path: Path) -> Running:
    """Migrates with the wheel's own command, serves, and runs a task."""
    stack.python = str(python)
    command = python.with_name("task-service-server")
    run([command, "migrate"], tmp_path, **stack.settings)
    stack.server()
    stack.worker()
    stack.beat()
    running = Running(stack)
    assert running.run(SLEEP, kwargs={"duration": 0.1})["status"] == "succeeded"
    assert httpx.get(f"{stack.url}/readyz").status_code == 200
    assert httpx.get(f"{stack.url}/ui/sign-in").status_code == 200
    return running


class TestTheWheel:
    def test_holds_code_and_no_more(self, wheel: Path) -> None:
        names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
        assert {Path(name).parts[0] for name in names} == {"app"}
        assert {name for name in names if not name.endswith(".py")} == data()
        code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "app").rglob("*.py")}
        assert code <= set(names)

    def test_so_does_the_source_distribution(self, source: Path, tmp_path: Path) -> None:
        run([sys.executable, "-c", BUILD, "build_sdist", tmp_path], source)
        (made,) = tmp_path.glob("*.tar.gz")
        with tarfile.open(made) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert data() <= names

    def test_migrates_serves_and_works(self, stack: Stack, beside_the_tests_packages: Path, tmp_path: Path) -> None:
        where = run([beside_the_tests_packages, "-c", "import app; print(app.__file__)"], tmp_path)
        assert Path(where.strip()).is_relative_to(beside_the_tests_packages.parents[1])
        works(stack, beside_the_tests_packages, tmp_path)

    @pytest.mark.full
    @pytest.mark.timeout(900)
    def test_alone_it_leaves_the_models_out(self, stack: Stack, wheel: Path, tmp_path: Path) -> None:
        """Needs a package index: the newest packages of the ranges, and no scikit-learn."""
        python = new_venv(tmp_path)
        run([python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wheel], tmp_path)
        running = works(stack, python, tmp_path)
        offered = {kind["celery_task_name"] for kind in running.http.get("/api/v1/tasks/types").json()}
        assert SLEEP in offered
        assert TRAIN not in offered
