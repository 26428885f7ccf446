"""The logs of the parts: bounded, and written again after what stopped them is over."""

import os
from pathlib import Path

import pytest

from app.launcher import logfile as module
from app.launcher.logfile import LogFile


class Disk:
    """`os` as `logfile` sees it, with a disk that has room for so many bytes."""

    def __init__(self) -> None:
        self.room = 10**9
        self.error = OSError(28, "No space left on device")

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise self.error
        taken = os.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(module, "os", made)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class TestSize:
    def test_it_and_its_four_predecessors_are_all_there_is(self, tmp_path: Path) -> None:
        log = LogFile(tmp_path / "api.log", max_bytes=100)
        for number in range(500):
            log.write(b"line %04d\n" % number)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["api.log", "api.log.1", "api.log.2", "api.log.3", "api.log.4"]
        assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
        kept = b"".join((tmp_path / name).read_bytes() for name in [*reversed(names[1:]), names[0]])
        assert kept.splitlines() == [b"line %04d" % number for number in range(450, 500)]

    def test_what_an_earlier_run_left_counts(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(b"x" * 90)
        LogFile(tmp_path / "log", max_bytes=100).write(b"12345678901\n")
        assert (tmp_path / "log").read_bytes() == b"12345678901\n"
        assert (tmp_path / "log.1").stat().st_size == 90

    def test_a_line_larger_than_the_file_is_cut(self, tmp_path: Path) -> None:
        LogFile(tmp_path / "log", max_bytes=100).write(b"x" * 1000)
        assert (tmp_path / "log").stat().st_size == 100

    def test_if_it_cannot_be_put_aside_it_does_not_grow_either(self, tmp_path: Path) -> None:
        (tmp_path / "log.1").mkdir()
        (tmp_path / "log.1" / "file").touch()
        told: list[str] = []
        log = LogFile(tmp_path / "log", told.append, max_bytes=100, files=2)
        for _ in range(50):
            log.write(b"a line\n")
        assert (tmp_path / "log").stat().st_size <= 100
        assert len(told) == 1


class TestAFullDisk:
    def test_loses_lines_and_says_how_many_there_and_at_once_here(self, tmp_path: Path, disk: Disk) -> None:
        told: list[str] = []
        log = LogFile(tmp_path / "log", told.append)
        log.write(b"before\n")
        disk.room = 0
        log.write(b"lost\n")
        assert told == [f"{tmp_path}/log cannot be written (No space left on device): 1 lines are missing so far"]
        log.write(b"lost\n")
        disk.room = 10**9
        log.write(b"after\n")
        assert told[1:] == [f"{tmp_path}/log is written again: 2 lines are missing (No space left on device)"]
        assert (tmp_path / "log").read_text() == (
            "before\nlauncher: 2 lines are missing here (No space left on device)\nafter\n"
        )

    def test_leaves_no_half_line(self, tmp_path: Path, disk: Disk) -> None:
        log = LogFile(tmp_path / "log", lambda _line: None)
        disk.room = 10
        log.write(b"before\n")
        log.write(b"half of this line\n")
        assert (tmp_path / "log").read_bytes() == b"before\n"

    def test_that_comes_and_goes_is_told_once_a_minute(self, tmp_path: Path, disk: Disk, clock: Clock) -> None:
        told: list[str] = []
        log = LogFile(tmp_path / "log", told.append)
        for _ in range(100):
            disk.room = 0
            log.write(b"lost\n")
            disk.room = 10**9
            log.write(b"written\n")
        assert len(told) == 2
        clock.now += module.TOLD_EVERY
        disk.room = 0
        log.write(b"lost\n")
        assert len(told) == 3

    def test_whose_log_is_deleted_to_make_room_is_written_anew(self, tmp_path: Path, disk: Disk) -> None:
        log = LogFile(tmp_path / "log", lambda _line: None)
        log.write(b"before\n")
        disk.room = 0
        log.write(b"lost\n")
        (tmp_path / "log").unlink()
        disk.room = 10**9
        log.write(b"after\n")
        assert (tmp_path / "log").read_text().splitlines()[1:] == ["after"]

    def test_is_told_at_the_end_too(self, tmp_path: Path, disk: Disk) -> None:
        log = LogFile(tmp_path / "log", lambda _line: None)
        disk.room = 0
        log.write(b"lost\n")
        disk.room = 10**9
        log.close()
        assert "1 lines are missing" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [5, 28, 122, 30])  # EIO, ENOSPC, EDQUOT, EROFS
def test_no_error_ends_it(tmp_path: Path, disk: Disk, number: int) -> None:
    log = LogFile(tmp_path / "log", lambda _line: None)
    disk.room, disk.error = 0, OSError(number, os.strerror(number))
    log.write(b"lost\n")
    disk.room = 100
    log.write(b"after\n")
    assert (tmp_path / "log").read_text().endswith("after\n")


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gone" / "log", max_bytes=10)
    log.write(b"a line\n")
    (tmp_path / "gone" / "log").unlink()
    (tmp_path / "gone").rmdir()
    log.write(b"another\n")
    log.write(b"a third\n")
    assert (tmp_path / "gone" / "log").read_text().endswith("a third\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_the_device_that_is_always_full_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    told: list[str] = []
    log = LogFile(tmp_path / "log", told.append)
    for _ in range(10):
        log.write(b"lost\n")
    log.close()
    assert len(told) == 1
