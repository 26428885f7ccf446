"""The settings by which PostgreSQL writes statements into its log. psycopg2 puts the values into the statements."""

from sqlalchemy import Connection, text

# From these levels on, a session's failed statements, slow statements and messages that quote values stay out of the
# log: https://www.postgresql.org/docs/18/runtime-config-logging.html#GUC-LOG-MIN-MESSAGES
_SAFE = {
    "log_min_messages": {"fatal", "panic"},
    "log_min_error_statement": {"panic"},
    # The postmaster names the statement of a crashed session in a message's detail.
    "log_error_verbosity": {"terse"},
}


def exposing_settings(connection: Connection) -> dict[str, str]:
    """Return the settings of this session, by name, that let values of statements reach the server's log."""
    rows = connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names) ORDER BY name"), {"names": list(_SAFE)}
    )
    return {name: setting for name, setting in rows if setting not in _SAFE[name]}
