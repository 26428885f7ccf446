"""The checks that APP_ENV=production applies to the settings. No message repeats a value."""

from collections.abc import Iterator
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

MIN_SECRET_BYTES = 32
MIN_SECRET_CHARACTERS = 8
PLACEHOLDERS = frozenset({"your-secret-key", "changeme", "change-me", "secret", "secret-key", "default"})

# URL parameters that libpq, and then PyMySQL, accept instead of a password. PGPASSWORD, ~/.pgpass and ~/.my.cnf are not
# visible here: name a passfile, or a `read_default_file`.
_OTHER_CREDENTIALS = frozenset(
    {"password", "passfile", "sslcert", "service", "gssencmode", "passwd", "ssl_cert", "read_default_file"}
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", ""})


class CheckedSettings(Protocol):
    """The settings that are looked at; `app.core.config.Settings` has them."""

    secret_key: SecretStr | None
    secret_key_previous: list[SecretStr]
    allow_passwordless_broker: bool
    celery_broker_url: SecretStr | None
    celery_result_backend: SecretStr | None
    cors_origins: list[str]
    debug: bool
    database_url: SecretStr | None


def refused(settings: CheckedSettings) -> Iterator[str]:
    """A sentence for each setting that must not go into production."""
    key = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if not key:
        yield "needs SECRET_KEY (at least 32 bytes, random)"
    elif is_weak(key):
        yield "refuses this SECRET_KEY: short or a placeholder"
    # Tokens signed with an old key are accepted, so a weak old key lets anyone sign them.
    if any(is_weak(former.get_secret_value()) for former in settings.secret_key_previous):
        yield "refuses a key of SECRET_KEY_PREVIOUS: short or a placeholder"
    yield from () if settings.allow_passwordless_broker else _open_brokers(settings)
    if "*" in settings.cors_origins:
        yield "refuses CORS_ORIGINS with *: name the origins"
    if settings.debug:
        yield "refuses DEBUG: the log would contain every statement"
    if settings.database_url is not None and _is_open(settings.database_url.get_secret_value()):
        yield "refuses this DATABASE_URL: it names another machine without a password, client certificate or passfile"


def _open_brokers(settings: CheckedSettings) -> Iterator[str]:
    for name in ("celery_broker_url", "celery_result_backend"):
        url: SecretStr | None = getattr(settings, name)
        if url is not None and any(map(_is_open_redis, url.get_secret_value().split(";"))):
            yield (
                f"refuses a {name.upper()} without a password: any client of that Redis can make your workers run"
                " tasks (set ALLOW_PASSWORDLESS_BROKER=true if no other client can reach it)"
            )


def _is_open_redis(url: str) -> bool:
    """Return whether this is a Redis on the network without a password. The file system protects a socket."""
    parts = urlsplit(url)
    return parts.scheme in {"redis", "rediss", "valkey", "valkeys", "sentinel"} and not parts.password


def is_weak(key: str) -> bool:
    """Return whether a key is shorter than 32 bytes, a placeholder, or of fewer than eight different characters."""
    placeholder = key.lower() in PLACEHOLDERS or len(set(key)) < MIN_SECRET_CHARACTERS
    return placeholder or len(key.encode()) < MIN_SECRET_BYTES


def _is_open(url: str) -> bool:
    """Return whether only the network protects this database. A socket's folder is as local as localhost."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if "unix_socket" in options:  # PyMySQL uses it whatever the host
        return False
    hosts = options.get("host", [parts.hostname or ""])
    local = all(host in _LOCAL or host.startswith("/") for names in hosts for host in names.split(","))
    return not (local or parts.password or _OTHER_CREDENTIALS & options.keys())
