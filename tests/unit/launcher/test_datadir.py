"""One launcher a data directory."""

import os
import stat

import pytest

from app.launcher.datadir import DataDir
from app.launcher.errors import LauncherError


def test_the_directory_is_made_private_and_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with DataDir(tmp_path / "a" / "data") as data:
            assert stat.S_IMODE(data.path.stat().st_mode) == 0o700


def test_a_second_launcher_gets_the_pid_of_the_first(tmp_path):
    with DataDir(tmp_path / "data"), pytest.raises(LauncherError, match=rf"in use .*\(pid {os.getpid()}\)"):
        DataDir(tmp_path / "data").__enter__()


def test_a_place_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LauncherError, match=r"cannot be used .* --data-dir"):
        DataDir(tmp_path / "file" / "data").__enter__()


def test_nothing_is_ended_where_nothing_was_left(tmp_path):
    with DataDir(tmp_path / "data") as data:
        data.pid_file("api").write_text("garbage")
        assert data.end_survivors() == []
        assert not data.pid_file("api").exists()
