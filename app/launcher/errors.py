"""The one kind of failure that the launcher reports to people: a line that says what is wrong and how to get on."""


class LauncherError(Exception):
    """Shown as one line, never as a traceback."""
