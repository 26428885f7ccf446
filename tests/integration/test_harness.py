"""The harness keeps its own promises; what it is used for stands in the other files."""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import ClassVar
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import User
from tests.report import recorded
from tests.support import reaper
from tests.support.databases import ENGINE
from tests.support.patience import PATIENCE
from tests.support.services import ROOT
from tests.support.stack import Stack
from tests.support.tasks import new_user
from tests.support.waiting import wait_for

SESSION = """
import subprocess, sys, time
from tests.support.services import Services
services = Services().start()
# a worker's pool child: no death signal reaches it when its parent dies with the session
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print(services.mark, services.directory, flush=True)
time.sleep(300)
"""


class TestRollbackSession:
    made: ClassVar[list[UUID]] = []

    def test_commits_within_the_test_only(self, db: Session) -> None:
        self.made.append(new_user(db))
        db.commit()
        assert db.get(User, self.made[0]) is not None

    def test_does_not_see_what_another_test_committed(self, db: Session) -> None:
        assert db.scalars(select(User.id).where(User.id.in_(self.made))).all() == []


class TestServices:
    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at /proc")
    def test_leave_neither_process_nor_file_when_the_session_is_killed(self) -> None:
        session = subprocess.Popen(
            [sys.executable, "-c", SESSION], stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=reaper.unmarked(),
        )  # fmt: skip
        assert session.stdout is not None
        with session.stdout:
            mark, directory = session.stdout.readline().split()
        processes = reaper.marked(mark)
        assert len(processes) >= (1 if ENGINE == "sqlite" else 2)  # which has no server
        maps = "".join(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in processes)
        assert "/dev/shm/PostgreSQL." not in maps  # nobody would remove it after a SIGKILL
        session.send_signal(signal.SIGKILL)
        session.wait()
        wait_for(lambda: not reaper.marked(mark), 15, "everything to end")
        wait_for(lambda: not Path(directory).exists(), 15, "the reaper to remove the files")

    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at /proc")
    def test_leave_no_file_when_the_session_around_them_ends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As one of the processes of a run: the end of the run kills all that carries its mark."""
        outer, inner, directory = secrets.token_hex(8), secrets.token_hex(8), tmp_path / "inner"
        directory.mkdir()
        monkeypatch.setenv(reaper.VARIABLE, outer)
        of_inner = reaper.start(inner, directory)
        reaper.end_marked(outer)
        reaper.dismiss(inner, of_inner)
        assert not directory.exists()


def test_a_wait_that_fails_tells_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=rf"waited {0.1 * PATIENCE:g} s for the answer; last seen: 0"):
        wait_for(lambda: 0, 0.1, "the answer")


class TestStack:
    def test_tells_the_log_of_a_part_that_does_not_start(self, stack: Stack) -> None:
        with pytest.raises(AssertionError, match=r"(?s)worker-1 ended with [12].*no-such-option"):
            stack.worker(options=["--no-such-option"])


class TestAProcessThatDies:
    """A run whose test process is gone is red, also where each test that it began has passed."""

    DIES = """
    import os, pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_{hook}(session):
        if hasattr(session.config, "workerinput"):
            os._exit(3)
    """

    @pytest.mark.parametrize("hook", ["sessionfinish", "collection"])
    def test_outside_of_a_test_is_told(self, tmp_path: Path, hook: str) -> None:
        (failed,) = self.run(tmp_path, self.DIES.format(hook=hook))
        assert failed.nodeid == recorded.SESSION
        assert "died outside of a test" in failed.text

    HANGS = """
    import pytest, time

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(items):
        items[0].obj = hang
        items[0].add_marker(pytest.mark.timeout(2))

    def hang():
        time.sleep(60)
    """

    def test_in_a_test_that_hangs_tells_its_stacks(self, tmp_path: Path) -> None:
        (failed,) = self.run(tmp_path, self.HANGS)
        assert failed.nodeid.endswith("::test_every_row_that_fails_is_named_with_its_reason")
        assert "in hang" in failed.text

    @staticmethod
    def run(tmp_path: Path, plugin: str) -> list[recorded.Recorded]:
        """What failed in a session with this plugin, which has failed."""
        (tmp_path / "dies.py").write_text(dedent(plugin), encoding="utf-8")
        results = tmp_path / "results.json"
        ended = subprocess.run(
            [
                sys.executable, "-m", "pytest", "tests/unit/support/test_tables.py", "-p", "dies",
                f"--results={results}", "--dist=load", "--max-worker-restart=0", "--tx=1*popen",
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env=reaper.unmarked() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        )  # fmt: skip
        assert ended.returncode == 1, ended.stdout
        return [test for test in recorded.read(results) if test.outcome == "failed" and not test.not_run]
