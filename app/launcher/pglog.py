"""Keeps the values of statements out of the log of the embedded PostgreSQL. psycopg2 puts them into the statements."""

import re

# Statements, and the details of messages, which quote rows and the statements of other sessions.
LOG_SETTINGS = {
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] ",
}
# Of the service's role: messages quote values too (`invalid input syntax for type uuid: "…"`). The service gets them as
# its errors, and logs them without the values. Those of PostgreSQL's own processes stay in the log.
ROLE_SETTINGS = {"log_min_messages": "fatal", "log_min_error_statement": "panic"}

_STATEMENT = re.compile(rb"\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] STATEMENT: ")


class StatementFilter:
    """Forgets the statements of a log: at a PANIC, such as of a full disk, PostgreSQL writes one whatever its settings.

    A statement's lines but the first begin with a tab. A long line comes in pieces.
    """

    def __init__(self) -> None:
        self._in_statement = False
        self._in_line = False

    def is_kept(self, piece: bytes) -> bool:
        """Whether the next piece of the log belongs to no statement."""
        if not self._in_line and not piece.startswith(b"\t"):
            self._in_statement = _STATEMENT.match(piece) is not None
        self._in_line = not piece.endswith(b"\n")
        return not self._in_statement
