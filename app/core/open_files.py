"""The limit of open files of this process (RLIMIT_NOFILE). Each connection of a client takes one file."""

import resource

# More than any API process has connections for. Not the hard limit itself, which may be a billion: programs that this
# process starts may close each possible descriptor in turn.
MOST_FILES = 65_536


def open_files_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def raise_open_files_limit() -> None:
    """Raise the soft limit to the hard one, at most to MOST_FILES. It is 1024 on many systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
