"""The last steps of a child between fork and exec, as a program of its own.

A `preexec_fn` would run Python between fork and exec of a process with threads, which may deadlock, so the launcher
starts `python -I -S child.py PARENT IDENTITY SIGNAL program args…` instead (about 15 ms). It asks the kernel for SIGNAL
when the launcher dies, takes on IDENTITY, and becomes the program. The order matters: a change of credentials clears
the death signal, so it is asked for last.

IDENTITY: `same`; `userns`, user 65534 of a new user namespace, which is root's own user seen from outside, so files
below a 0700 directory of root stay reachable; or `UID:GID`.
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65534
CANNOT_RUN = 126


def enter_user_namespace(libc: ctypes.CDLL) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if not hasattr(libc, "unshare"):
        raise OSError("this system has no user namespaces")
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not allowed")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {uid} 1"), ("gid_map", f"{NOBODY} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as entry:  # noqa: PTH123 - no pathlib: start-up time
            entry.write(text)


def take_identity(identity: str, libc: ctypes.CDLL) -> None:
    if identity == "userns":
        enter_user_namespace(libc)
    elif identity != "same":
        uid, gid = identity.split(":")
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))


def main() -> None:
    parent, identity, death_signal, program = sys.argv[1:5]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        take_identity(identity, libc)
        if hasattr(libc, "prctl"):
            libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(CANNOT_RUN)  # the launcher died before the kernel was asked
        os.execv(program, sys.argv[4:])  # noqa: S606 - becoming the program is what this file is for
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error}\n")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
