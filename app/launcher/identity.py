"""As whom PostgreSQL may run. It refuses root, and root's launcher should neither make users nor open directories.

As root, tried in this order, each by really running the program there (30 ms):

1. the owner of the directory where that is somebody else;
2. user 65534 of a user namespace: root's own user seen from outside, so a 0700 directory of root stays reachable;
3. the owner of the directories above (`sudo python3 run_server.py` in one's own 0700 home);
4. the user `nobody`, for machines without user namespaces (Docker's default), where the directory is reachable for it.
"""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from app.launcher.errors import LauncherError
from app.launcher.process import CHILD

PROBE = 'test -w "$1" && exec "$2" --version'


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _candidates(directory: Path) -> Iterator[str]:
    owners = [f"{found.st_uid}:{found.st_gid}" for found in (path.stat() for path in (directory, *directory.parents))]
    if not owners[0].startswith("0:"):
        yield owners[0]
    yield "userns"
    yield from [owner for owner in owners[1:] if not owner.startswith("0:")][:1]
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return
    yield f"{nobody.pw_uid}:{nobody.pw_gid}"


def give_to(directory: Path, identity: str) -> None:
    """Make the directory and what is in it belong to the identity, as PostgreSQL demands."""
    uid, gid = (0, 0) if identity in ("userns", "same") else map(int, identity.split(":"))
    for path in (directory, *directory.rglob("*")):
        found = path.lstat()
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(path, uid, gid, follow_symlinks=False)


def _works(identity: str, program: Path, directory: Path) -> bool:
    wrapper = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), identity, str(int(signal.SIGKILL))]
    command = [*wrapper, "/bin/sh", "-c", PROBE, "sh", str(directory), str(program)]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def choose_identity(program: Path, directory: Path) -> str:
    """The identity (see `child.py`) under which this program can work in this directory, which then belongs to it."""
    if os.geteuid() != 0:
        # initdb wants a name for its user: a container may run under a number that has none
        return "same" if _has_name(os.geteuid()) else "userns"
    for identity in _candidates(directory):
        give_to(directory, identity)
        if _works(identity, program, directory):
            return identity
    give_to(directory, "same")
    raise LauncherError(
        "PostgreSQL does not run as root, this machine allows no user namespaces, and the user nobody cannot reach "
        f"{directory} and {program}: run this as a plain user, or name a server in DATABASE_URL (environment or .env)"
    )
