"""The directory of an attempt: there for as long as its process lives, whatever its number is, and deleted after it."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.ids import new_id
from app.worker.child import attempt_files
from app.worker.child.attempt_files import AttemptFiles
from tests.support.waiting import wait_for

NO_PROCESS = 2**22 + 1  # larger than any process number


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, which two containers may share."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A process with files of an attempt, whose number means nothing here."""
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(os, "getpid", lambda: NO_PROCESS)
        (new_files().directory() / "input").touch()
        signal.pause()
        os._exit(0)
    wait_for(lambda: [*folder.glob("*/input")], what="the other process to have a file")
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def new_files() -> AttemptFiles:
    return AttemptFiles(new_id(), 1, 1000, lambda statement: statement(None))


def test_of_another_container_stays_until_its_process_ends(elsewhere: int, folder: Path) -> None:
    files = new_files()
    files.directory()
    assert [*folder.glob("*/input")]
    os.kill(elsewhere, signal.SIGKILL)
    os.waitid(os.P_PID, elsewhere, os.WEXITED | os.WNOWAIT)
    new_files().directory()
    assert [*folder.glob("*/input")] == []
    assert files.directory().is_dir()


def test_goes_with_its_body(folder: Path) -> None:
    files, before = new_files(), [*Path("/dev/fd").iterdir()]
    (files.directory() / "input").touch()
    files.close()
    assert [*folder.iterdir()] == []
    assert [*Path("/dev/fd").iterdir()] == before


def test_that_is_deleted_before_it_is_locked_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = tempfile.mkdtemp, []

    def make(**options: str) -> str:
        made.append(real(**options))
        if len(made) == 1:
            attempt_files.delete_left_directories()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    assert new_files().directory() == Path(made[1])
    assert [*folder.iterdir()] == [Path(made[1])]
