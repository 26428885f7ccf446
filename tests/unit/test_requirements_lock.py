"""The locks: every package pinned, every file by its hash, in step with requirements.txt. The image installs the first, `-full` the second too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.launcher.venv import why_unlocked
from tests.support.requirements_files import (
    BUILD_LOCK,
    DEV_LOCK,
    FULL_LOCK,
    LOCK,
    ROOT,
    UV_LOCK,
    beside_the_image,
    locked,
    of_full,
    of_slim,
    of_the_build,
    of_the_installer,
    tools,
)  # fmt: skip
from tests.support.sources import assert_none

# Python 3.12 and newer take another numpy and scipy than 3.11.
MARKED_TWICE = {"numpy", "scipy"}


LOCKS = {
    LOCK: of_slim(),
    FULL_LOCK: of_full(),
    DEV_LOCK: beside_the_image(),
    BUILD_LOCK: of_the_build(),
    UV_LOCK: of_the_installer(),
}


class TestEachFile:
    """The packages of the images; what requirements.txt names beside them; what builds the client; uv; and what these need."""

    def test_pins_what_its_source_pins(self) -> None:
        """After a change of requirements.txt: `make lock`. Else `run_server.py` installs without comparing hashes."""
        for lock, named in LOCKS.items():
            assert {pin.name: pin.version for pin in locked(lock) if pin.name in named} == named, lock.name
            assert len(locked(lock)) > len(named) or lock in (BUILD_LOCK, UV_LOCK)
        assert why_unlocked(ROOT) == ""

    def test_has_hashes_of_every_package(self) -> None:
        assert_none(f"{lock.name}: {pin.name} has no hash" for lock in LOCKS for pin in locked(lock) if not pin.hashes)

    def test_holds_nothing_of_the_other_and_nothing_of_the_tests(self) -> None:
        image, full, beside = ({pin.name for pin in locked(lock)} for lock in (LOCK, FULL_LOCK, DEV_LOCK))
        assert image & full == (image | full) & beside == set()
        assert (image | full | beside_the_image().keys()) & tools().keys() == set()

    def test_refuses_source_distributions_and_names_no_index(self) -> None:
        """The installation chooses the index; the hashes prove that the files are the same."""
        texts = {lock.name: lock.read_text(encoding="utf-8") for lock in LOCKS}
        wrong = [name for name, text in texts.items() if "\n--only-binary :all:\n" not in text]
        assert_none(f"{name} has no --only-binary" for name in wrong)
        index = re.compile(r"https?:|index-url|find-links|trusted-host|file:|constraint")
        assert_none(
            f"{name}:{number}: {line}"
            for name, text in texts.items()
            for number, line in enumerate(text.splitlines(), start=1)
            if index.search(line)
        )


class TestTheImage:
    def test_pins_a_package_twice_only_for_another_python(self) -> None:
        names = [pin.name for pin in locked()]
        assert {name for name in names if names.count(name) > 1} <= MARKED_TWICE
        assert all(pin.marker for pin in locked() if pin.name in MARKED_TWICE)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_pip_can_install_them(tmp_path: Path) -> None:
    """Needs a package index, and a minute: pip downloads every wheel to compare its hash."""
    dropped = ("PIP_FIND_LINKS", "PIP_CONSTRAINT")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    command = [tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "--dry-run", "--quiet"]
    options = ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    files = [option for lock in LOCKS for option in ("-r", lock)]
    done = subprocess.run(
        [*command, *options, *files], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
