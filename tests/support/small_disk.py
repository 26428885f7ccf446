"""A disk of 8 MiB, made of memory, in a mount namespace: there for one process alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import ROOT

_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
_MOUNTED = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1"'


def _is_allowed() -> bool:
    try:
        return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_small_disk = pytest.mark.skipif(not _is_allowed(), reason="a mount namespace is not allowed here")


def run_on_small_disk(body: str, place: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python code, with `place` as its only argument, where the small disk is mounted for it."""
    return subprocess.run(
        [*_NAMESPACE, "sh", "-ec", _MOUNTED, "sh", place, sys.executable, body],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
