"""Chooses the user that PostgreSQL runs as: it refuses root, and a launcher run by root must not create users.

As root, these are tried in order, each by running the program in the directory (30 ms):

1. the owner of the directory, unless that is root
2. user 65534 of a user namespace: outside it is root, so it can read root's directories with mode 0700
3. the owner of the directories above, for `sudo python3 run_server.py` in a home directory with mode 0700
4. the user `nobody`, for machines without user namespaces, such as Docker containers
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
    """Make the identity own the directory and its content, as PostgreSQL demands."""
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
    """The identity (see `child.py`) with which this program can write to the directory; the identity then owns it.

    Raises LauncherError when there is none.
    """
    if os.geteuid() != 0:
        # initdb needs a user with a name: a container may run with a number that has none
        return "same" if _has_name(os.geteuid()) else "userns"
    for identity in _candidates(directory):
        give_to(directory, identity)
        if _works(identity, program, directory):
            return identity
    give_to(directory, "same")
    raise LauncherError(
        "PostgreSQL does not run as root, this machine allows no user namespaces, and the user nobody cannot read "
        f"{directory} and {program}: run this as another user, or name a server in DATABASE_URL (environment or .env)"
    )
