"""Sets up a child process, then replaces itself with the program: `child.py PARENT IDENTITY SIGNAL program args…`

A separate program, because a `preexec_fn` runs Python between fork and exec, which may deadlock in a process with
threads. It costs about 15 ms. It changes to IDENTITY, asks the kernel to send SIGNAL when the launcher dies, and runs
the program. The death signal comes last, since a change of credentials clears it.

IDENTITY is one of:
  same      no change
  userns    user 65534 in a new user namespace. Outside it is root, so it can read root's directories with mode 0700.
  UID:GID   this user and group
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
            sys.exit(CANNOT_RUN)  # the launcher died before the death signal was set
        os.execv(program, sys.argv[4:])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error}\n")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
