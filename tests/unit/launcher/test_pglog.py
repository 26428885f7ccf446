"""What PostgreSQL writes at a PANIC, whatever its settings: the statement."""

from app.launcher.postgres import StatementFilter

LOG = b"""\
2026-11-25 10:00:00.000 UTC [17] PANIC:  could not write to file "pg_wal/xlogtemp.17": No space left on device
2026-11-25 10:00:00.000 UTC [17] STATEMENT:  INSERT INTO tasks (kwargs) VALUES ('{"password": "hunter2
\t2026-11-25 10:00:00.000 UTC [17] LOG:  hunter2
\t"}')
2026-11-25 10:00:01.000 UTC [1] LOG:  STATEMENT:  is a word
2026-11-25 10:00:01.000 UTC [1] LOG:  two
\tlines
"""


def kept(pieces: list[bytes]) -> bytes:
    is_kept = StatementFilter().is_kept
    return b"".join(piece for piece in pieces if is_kept(piece))


def test_statements_are_forgotten_and_all_else_is_kept() -> None:
    first, *rest = LOG.splitlines(keepends=True)
    assert kept([first, *rest]) == first + b"".join(rest[-3:])


def test_the_pieces_of_a_long_line_belong_together() -> None:
    statement = b"2026-11-25 10:00:00.000 UTC [17] STATEMENT:  SELECT '"
    pieces = [statement, b"2026-11-25 10:00:00.000 UTC [17] LOG: hunter2", b"\thunter2'\n", b"\thunter2\n", b"next\n"]
    assert kept(pieces) == b"next\n"
    assert kept([b"2026-11-25 10:00:00.000 UTC [17] LOG:  ", b"\tlong", b" line\n"]).endswith(b"\tlong line\n")
