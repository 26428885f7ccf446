"""Makes `.venv` with any Python, and runs a command's `main` with the Python of `.venv`."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.venv import ensure_venv, runs_in


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
        return _run_here(module)
    command = [str(python), os.path.abspath(sys.argv[0]), *sys.argv[1:]]  # noqa: PTH100 - resolve() would follow links
    return become(command)


def _run_here(module: str) -> int:
    try:
        return int(importlib.import_module(module).main(sys.argv[1:]))
    except KeyboardInterrupt:  # the command has not installed its own handler yet
        return 130


def become(command: list[str]) -> int:
    """Run this command in the place of this process: its signals and its exit code are the command's.

    On Windows it is a child process, and its exit code is returned.
    """
    if sys.platform == "win32":
        return subprocess.call(command)  # exec on Windows returns to the shell at once
    sys.stdout.flush()
    return os.execv(command[0], command)  # noqa: S606 - no shell is wanted
