"""What APP_ENV=production refuses to start with. No line of it repeats a value."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from app.core.config import Settings

MIN_SECRET_BYTES = 32
MIN_SECRET_CHARACTERS = 8
PLACEHOLDERS = frozenset({"your-secret-key", "changeme", "change-me", "secret", "secret-key", "default"})

# What libpq takes in a URL instead of a password. (PGPASSWORD and ~/.pgpass cannot be seen in it: name the passfile.)
_OTHER_CREDENTIALS = frozenset({"password", "passfile", "sslcert", "service", "gssencmode"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", ""})


def refused(settings: "Settings") -> Iterator[str]:
    """A sentence for each setting that must not go into production."""
    key = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if not key:
        yield "needs SECRET_KEY (at least 32 bytes, random)"
    elif _is_weak(key):
        yield "refuses this SECRET_KEY: short or a placeholder"
    if "*" in settings.cors_origins:
        yield "refuses CORS_ORIGINS with *: name the origins"
    if settings.debug:
        yield "refuses DEBUG: the log would hold users' data"
    if settings.database_url is not None and _is_open(settings.database_url.get_secret_value()):
        yield "refuses this DATABASE_URL: another machine's, with no password, client certificate or passfile"


def _is_weak(key: str) -> bool:
    placeholder = key.lower() in PLACEHOLDERS or len(set(key)) < MIN_SECRET_CHARACTERS
    return placeholder or len(key.encode()) < MIN_SECRET_BYTES


def _is_open(url: str) -> bool:
    """Whether nothing but the network decides who reaches the database. A socket's folder is as local as localhost."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    hosts = options.get("host", [parts.hostname or ""])
    local = all(host in _LOCAL or host.startswith("/") for names in hosts for host in names.split(","))
    return not (local or parts.password or _OTHER_CREDENTIALS & options.keys())
