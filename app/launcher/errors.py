"""The error that the launcher shows to its user: one line with the cause and the remedy."""


class LauncherError(Exception):
    """The launcher prints its message as one line, without a traceback."""
