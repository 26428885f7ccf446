"""Parts that the fork server starts: children of the process that asks for them, which the fork server may outlive or not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.launcher import forks
from app.launcher.fork_server import PACKAGES
from app.launcher.forks import ForkedProcess, ForkServer
from app.launcher.processes import command_line, stat_fields
from app.launcher.trial import ACCEPTED, REFUSED
from tests.support.fork_server import can_fork
from tests.support.services import ROOT, process_environment
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux's prctl")

TELL = """
import json, os, sys, app.core.config
open("told", "w").write(json.dumps({
    "directory": os.getcwd(), "words": sys.argv, "variable": os.environ.get("TOLD"), "main": __name__,
    "has_imported": "app.services.task_service" in sys.modules, "signals": os.getpgid(0) == os.getpid(),
    "key": app.core.config.get_settings().secret_key.get_secret_value(),
}))
print("a line", flush=True)
print("another one, on stderr", file=sys.stderr)
sys.exit(3)
"""
PREPARE = """
import gc, sys
from app.worker.bootsteps import prepare_fork
frozen = gc.get_freeze_count()
prepare_fork()
sys.exit(3 if gc.get_freeze_count() > frozen and "app.tasks.common_tasks" in sys.modules else 1)
"""
SHARES = """
import sys
from sqlalchemy import inspect
from app.models import Task
sys.exit(3 if inspect(Task).configured and {"kombu.transport.redis", "app.beat.scheduler"} <= {*sys.modules} else 1)
"""
KEY = "of-this-part-0123456789abcdef0123456789abcdef"
Start = Callable[..., ForkedProcess]


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    directory = tmp_path_factory.mktemp("fork-server")
    made = ForkServer("postgresql", directory / "log", process_environment({}), directory)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def start(fork_server: ForkServer, tmp_path: Path) -> Iterator[Start]:
    """`start("module", …)` in a directory with the module `tell`."""
    (tmp_path / "tell.py").write_text(TELL, encoding="utf-8")
    made = list[ForkedProcess]()

    def begin(*argv: str, **options: object) -> ForkedProcess:
        env = process_environment({"SECRET_KEY": KEY, "TOLD": "by its environment", "CELERY_BROKER_URL": "memory://"})
        each = ForkedProcess(
            fork_server, [sys.executable, "-m", *argv], log=tmp_path / "log", env=env, cwd=tmp_path, **options
        )
        made.append(each)
        each.start()
        return each

    yield begin
    for each in made:
        each.kill()


class TestAPart:
    def test_shares_what_each_part_would_do_at_its_start(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "shares.py").write_text(SHARES, encoding="utf-8")
        assert start("shares").wait(30) == 3

    def test_is_as_if_it_was_started_by_python(self, start: Start, tmp_path: Path) -> None:
        assert start("tell", "an argument").wait(30) == 3
        told = json.loads((tmp_path / "told").read_text(encoding="utf-8"))
        assert told == {
            "directory": str(tmp_path), "words": [str(tmp_path / "tell.py"), "an argument"], "main": "__main__",
            "variable": "by its environment", "has_imported": True, "signals": True, "key": KEY,
        }  # fmt: skip
        assert (tmp_path / "log").read_text(encoding="utf-8") == "a line\nanother one, on stderr\n"

    def test_whose_output_is_read_is_read_to_its_end(self, start: Start) -> None:
        lines = list[str]()
        assert start("tell", on_line=lines.append).wait(30) == 3
        assert lines == ["a line", "another one, on stderr"]

    def test_is_a_child_of_this_process_and_shows_its_command(self, start: Start) -> None:
        part = start("http.server", "0")
        assert int(stat_fields(part.pid)[1]) == os.getpid()
        wait_for(lambda: "-m http.server 0" in command_line(part.pid), 10, "the command line of the part")
        assert part.kill() == -signal.SIGKILL

    def test_that_is_a_worker_freezes_what_its_children_share(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "prepare.py").write_text(PREPARE, encoding="utf-8")
        assert start("prepare").wait(30) == 3

    def test_that_is_killed_at_once_ends(self, start: Start) -> None:
        for _ in range(5):
            assert start("http.server", "0").kill() == -signal.SIGKILL

    def test_ends_with_its_parent(self, tmp_path: Path) -> None:
        """By the signal that was asked for, although it was forked by another process."""
        program = f"""
import signal, sys
from pathlib import Path
from app.launcher import forks as forking
from app.launcher.forks import ForkedProcess, ForkServer
here = Path({str(tmp_path)!r})
server = ForkServer("postgresql", here / "log", {process_environment({})!r}, here)
server.start()
part = ForkedProcess(server, [sys.executable, "-m", "http.server", "0"], log=here / "part.log", cwd=here,
                     env={process_environment({})!r}, death_signal=signal.SIGTERM)
part.start()
print(part.pid, flush=True)
signal.pause()
"""
        launcher = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT, env=process_environment({})
        )
        try:
            assert launcher.stdout is not None
            pid = int(launcher.stdout.readline())
            assert stat_fields(pid)
        finally:
            launcher.kill()
            launcher.communicate()
        wait_for(lambda: not stat_fields(pid) or stat_fields(pid)[0] == "Z", 10, "the part to end")


class TestATrial:
    """Of the modules of tasks, before the parts run them."""

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("import os", None),
            ("x = (", "module mine cannot be imported, its tasks are left out: SyntaxError: '(' was never closed ({}/mine.py:1)"),
            ("import json\n\njson.loads('')", "module mine cannot be imported, its tasks are left out: JSONDecodeError: Expecting value: line 1 column 1 (char 0) ({}/mine.py:3)"),
            ("import helper", "module mine cannot be imported, its tasks are left out: ZeroDivisionError: division by zero ({}/helper.py:2)"),
            ("from app.celery_app import celery_app\ncelery_app.task(daily_limit=0, bind=3)(1)", "({}/mine.py:2)"),
            (None, "refused: mine, which TASK_MODULES names, was deleted or renamed"),
            ("x = 1\n\0", "SyntaxError: source code string cannot contain null bytes ({}/mine.py)"),
            ("\nraise KeyboardInterrupt", "refused: KeyboardInterrupt ({}/mine.py:2)"),
            ("\nclass Own(BaseException): ...\nraise Own('x')", "refused: Own: x ({}/mine.py:3)"),
        ],
    )  # fmt: skip
    def test_names_the_file_and_line_of_the_user(
        self, fork_server: ForkServer, tmp_path: Path, source: str | None, told: str | None
    ) -> None:
        (tmp_path / "helper.py").write_text("\n1 / 0\n", encoding="utf-8")
        if source is not None:
            (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        code, lines = try_code(fork_server, tmp_path)
        refused = [line for line in lines if line.startswith(REFUSED)]
        assert (code, len(refused), ACCEPTED in lines) == ((0, 0, True) if told is None else (1, 1, False)), lines
        assert told is None or told.format(tmp_path) in refused[0]

    @pytest.mark.parametrize(
        "source",
        [
            "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
            "import io, sys\nprint('open', end='')\nsys.stdout = io.StringIO()",
        ],
    )
    def test_accepts_a_module_that_starts_a_thread_or_writes_elsewhere(
        self, fork_server: ForkServer, tmp_path: Path, source: str
    ) -> None:
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        code, lines = try_code(fork_server, tmp_path)
        assert (code, ACCEPTED in lines) == (0, True), lines

    def test_that_a_module_ends_has_accepted_nothing(self, fork_server: ForkServer, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("import os\nos._exit(0)", encoding="utf-8")
        assert try_code(fork_server, tmp_path) == (0, [])


def try_code(fork_server: ForkServer, folder: Path) -> tuple[int | None, list[str]]:
    """Run a trial of the module `mine` in this folder. Returns its exit code and its lines."""
    lines = list[str]()
    env = process_environment({"SECRET_KEY": KEY, "CELERY_BROKER_URL": "memory://", "TASK_MODULES": "mine"})
    argv = [sys.executable, "-m", "app.launcher.trial"]
    trial = ForkedProcess(fork_server, argv, log=folder / "log", env=env, cwd=folder, on_line=lines.append)
    trial.start()
    try:
        return trial.wait(30), lines
    finally:
        trial.kill()


class TestTheForkServer:
    def test_that_cannot_import_says_why_with_file_and_line(self, tmp_path: Path) -> None:
        """It tells what it knows, and else the last of what Python has written."""
        for name in ("__init__", "core/__init__", "core/engines", "core/process_start",
                     "launcher/__init__", "launcher/fork_server", "launcher/logfile", "launcher/processes"):  # fmt: skip
            copy = tmp_path / "app" / f"{name}.py"
            copy.parent.mkdir(exist_ok=True, parents=True)
            copy.write_text((ROOT / "app" / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
        config = tmp_path / "app" / "core" / "config.py"
        config.write_text("import os\n1 / 0\n", encoding="utf-8")
        broken = ForkServer(
            "postgresql", tmp_path / "log", process_environment({"PYTHONPATH": str(tmp_path)}), tmp_path
        )
        try:
            broken.start()
            wait_for(lambda: not broken.is_importing(), 30, "the import to fail")
            assert broken.refusal == f"ZeroDivisionError: division by zero ({config}:2)"
            (tmp_path / "app" / "core" / "engines.py").write_text("\nx = (\n", encoding="utf-8")
            broken.start()
            wait_for(lambda: not broken.is_importing(), 30, "the import to fail")
            assert broken.refusal == f"SyntaxError: '(' was never closed ({tmp_path}/app/core/engines.py:2)"
        finally:
            broken.stop()

    def test_that_was_killed_while_it_imported_is_not_taken_for_one_that_forks(self, tmp_path: Path) -> None:
        killed = ForkServer("postgresql", tmp_path / "log", process_environment({}), tmp_path)
        try:
            killed.start()
            os.kill(killed.pid, signal.SIGKILL)
            wait_for(lambda: not killed.is_importing(), 30, "its end to be seen")
            assert killed.refusal == f"its import has ended: see {tmp_path / 'log'}"
        finally:
            killed.stop()

    def test_that_has_ended_leaves_its_parts_alone_and_what_is_started_then_imports_itself(
        self, start: Start, fork_server: ForkServer
    ) -> None:
        part, said = start("http.server", "0"), list[str]()
        fork_server.stop()
        assert start("tell", tell=said.append).wait(60) == 3
        assert [line.partition(" (")[0] for line in said] == ["the process that forks the parts does not answer"]
        assert part.running
        fork_server.start()
        assert start("tell", tell=said.append).wait(60) == 3
        assert len(said) == 1

    def test_that_was_killed_is_told_once_whatever_is_started_until_it_runs_again(
        self, start: Start, fork_server: ForkServer
    ) -> None:
        assert start("tell").wait(60) == 3
        os.kill(fork_server.pid, signal.SIGKILL)
        wait_for(lambda: fork_server.poll() is not None, 10, "its end")
        said = list[str]()
        for _ in range(3):
            assert start("tell", tell=said.append).wait(60) == 3
        assert [line.partition(" (")[0] for line in said] == ["the process that forks the parts does not answer"]
        fork_server.start()
        assert start("tell", tell=said.append).wait(60) == 3
        assert len(said) == 1

    def test_that_does_not_answer_is_given_up_with_what_it_forks_later(
        self, start: Start, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert start("tell").wait(60) == 3
        os.kill(fork_server.pid, signal.SIGSTOP)
        monkeypatch.setattr(forks, "FORK_SECONDS", 0.1)
        said = list[str]()
        assert start("tell", tell=said.append).wait(60) == 3
        assert len(said) == 1
        wait_for(lambda: fork_server.poll() == -signal.SIGKILL, 10, "the fork server to be given up")
        monkeypatch.undo()
        fork_server.start()
        assert start("tell", tell=said.append).wait(60) == 3
        assert len(said) == 1

    def test_that_was_forked_by_one_of_packages_imports_the_application_as_it_is_now(
        self, tmp_path: Path, start: Start
    ) -> None:
        copy, env = tmp_path / "copy", process_environment({"PYTHONPATH": str(tmp_path / "copy")})
        shutil.copytree(ROOT / "app", copy / "app")
        packages = ForkServer(PACKAGES, tmp_path / "packages.log", env, tmp_path)
        packages.start()
        made = ForkServer("postgresql", tmp_path / "made.log", env, tmp_path, packages)
        try:
            for module in ("core/ids.py", "core/engines.py"):  # the second one is imported by a fork server itself
                with (copy / "app" / module).open("a", encoding="utf-8") as code:
                    code.write("\nSAVED = 1\n")
            made.start()
            told = tmp_path / "saved.py"
            told.write_text("import sys; from app.core import engines, ids; sys.exit(ids.SAVED + engines.SAVED)")
            argv = [sys.executable, "-m", "saved"]
            part = ForkedProcess(made, argv, log=tmp_path / "part.log", env=env, cwd=tmp_path)
            part.start()
            assert (part.wait(60), made.refusal) == (2, ""), made.tail()
            assert int(stat_fields(made.pid)[1]) == os.getpid()
            packages.stop()
            made.start()
            assert made.poll() is None, "without them it is started in the usual way"
        finally:
            packages.stop()
            made.stop()

    def test_that_cannot_import_has_the_part_started_in_the_usual_way(self, tmp_path: Path) -> None:
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "__init__.py").touch()
        (tmp_path / "tell.py").write_text("import sys; sys.exit(3)", encoding="utf-8")
        said = list[str]()
        env = {**process_environment({}), "PYTHONPATH": ""}
        broken = ForkServer("postgresql", tmp_path / "log", env, tmp_path)
        broken.start()
        part = ForkedProcess(
            broken, [sys.executable, "-m", "tell"], log=tmp_path / "part.log", env=env, cwd=tmp_path, tell=said.append
        )
        try:
            part.start()
            assert part.wait(30) == 3
            for _ in range(forks.MOST_FAILURES):
                broken.start()
                wait_for(lambda: broken.poll() == 1, 30, "the import to fail")
            broken.start()
            wait_for(lambda: not broken.is_importing(), 30, "the import to fail")
            assert broken.poll() is None  # it is not started again and again
        finally:
            broken.stop()
        [line] = said
        assert str(tmp_path / "log") in line
        assert "No module named 'app.launcher'" in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_variable_that_acts_at_an_import_has_a_part_of_a_test_started_anew() -> None:
    env = process_environment({})
    assert can_fork([sys.executable, "-m"], env)
    assert not can_fork([sys.executable, "-m"], {**env, "FAILPOINTS": "[]"})
    assert not can_fork([sys.executable, "-m"], {**env, "PYTHONPATH": "/elsewhere"})
    assert not can_fork(["/elsewhere/python", "-m"], env)
