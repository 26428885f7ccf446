"""The one typed class of settings; nothing else in `app/` reads the environment.

The settings themselves are declared in `setting_fields.py`; this module checks them, derives from them, and warns of
those that a process takes but that are probably a mistake.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import parse_qs, urlsplit

from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError, field_validator, model_validator

from app.core import engines
from app.core.host_rules import HostRules
from app.core.nearest import did_you_mean, edits
from app.core.secret_files import SUFFIX, SecretFileError
from app.core.setting_fields import SettingFields, secret_names
from app.core.signatures import decode_secret

logger = logging.getLogger(__name__)

# Of lines that are not NAME=value, once for each reader: `setting_warnings` tells of them.
logging.getLogger("dotenv.main").setLevel(logging.ERROR)


class ConfigurationError(Exception):
    """Settings that are refused, missing or name what cannot be imported: a line for each of them, without values."""


# As kombu's TRANSPORT_ALIASES has them. Another one is named by its module.
# https://docs.celeryq.dev/projects/kombu/en/stable/userguide/connections.html#urls
BROKERS = frozenset({
    "amqp", "amqps", "azureservicebus", "azurestoragequeues", "confluentkafka", "consul", "etcd", "filesystem",
    "gcpubsub", "kafka", "librabbitmq", "memory", "mongodb", "pgmq", "pyamqp", "pyro", "qpid", "redis", "rediss",
    "sentinel", "slmq", "sqla", "sqlalchemy", "sqs", "zookeeper",
})  # fmt: skip
# The longest line that is kept, and some more.
LEAST_LOG_BYTES = 64 * 1024


class Settings(SettingFields):
    """The settings, checked."""

    @field_validator("database_url")
    @classmethod
    def _name_a_driver(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(engines.with_driver(value.get_secret_value()))

    @field_validator("outbound_allow", "outbound_deny")
    @classmethod
    def _name_places(cls, value: list[str]) -> list[str]:
        HostRules.of(value)
        return value

    @field_validator("task_log_bytes")
    @classmethod
    def _holds_log_lines(cls, value: int) -> int:
        """Refuse less than one line may have: a message, a traceback and its fields together."""
        if 0 < value < LEAST_LOG_BYTES:
            raise ValueError(f"0 keeps no log lines; else it is {LEAST_LOG_BYTES} at least")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _holds_webhook_keys(cls, value: SecretStr | None) -> SecretStr | None:
        _webhook_keys(value)
        return value

    @field_validator("database_url", "celery_broker_url", "celery_result_backend")
    @classmethod
    def _has_a_port(cls, value: SecretStr | None) -> SecretStr | None:
        """Check the port: a password with `/` or `@` is in part taken for the port or host, and quoted in an error."""
        urls = value.get_secret_value().split(";") if value else []
        try:
            is_wrong = any(urlsplit(each).netloc.count("@") > 1 or urlsplit(each).port == 0 for each in urls)
        except ValueError:
            is_wrong = True
        if is_wrong:
            raise ValueError(
                "must be a URL whose port is a number; in its password, write @ as %40, / as %2F and : as %3A"
            )
        return value

    @field_validator("celery_broker_url")
    @classmethod
    def _is_of_a_broker(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse what Celery takes for RabbitMQ, having no scheme, and a scheme that it would wait for without end."""
        for url in value.get_secret_value().split(";") if value else []:
            scheme, separator, _ = url.partition("://")
            if not separator or (scheme.lower().partition("+")[0] not in BROKERS and "." not in scheme):
                raise ValueError("must be a URL of a broker, such as redis://localhost:6379/0")
        return value

    @field_validator("celery_broker_url", "celery_result_backend")
    @classmethod
    def _verify_certificates(cls, value: SecretStr | None) -> SecretStr | None:
        """`rediss://` checks the server's certificate; kombu would take any, and send it the password."""
        return None if value is None else SecretStr(";".join(map(_verifying, value.get_secret_value().split(";"))))

    @model_validator(mode="after")
    def _signing_needs_a_secret(self) -> Self:
        if self.sign_messages and self.secret_key is None:
            raise ValueError("SIGN_MESSAGES=true needs SECRET_KEY, the same in every process")
        return self

    @model_validator(mode="after")
    def _production_is_strict(self) -> Self:
        refused = list(refused_in_production(self)) if self.app_env == "production" else []
        if refused:
            raise ValueError("\n".join(f"APP_ENV=production {what}" for what in refused))
        return self

    @cached_property
    def signing_key(self) -> str:
        """Return what signs access tokens, never shorter than 32 bytes.

        Outside production a short key is stretched (the start warns of it) and a missing one made up, so that the first
        steps work; a made-up key differs between processes, hence the warning.
        """
        if self.secret_key is None:
            logger.warning("SECRET_KEY is not set: tokens will not outlive this process")
            return secrets.token_hex(32)
        return _stretched(self.secret_key.get_secret_value())

    @cached_property
    def accepted_keys(self) -> list[str]:
        """Return what access tokens may be signed with: `signing_key`, and SECRET_KEY_PREVIOUS, which signs nothing."""
        return [self.signing_key, *(_stretched(key.get_secret_value()) for key in self.secret_key_previous)]

    @property
    def database_engine(self) -> str:
        """Return POSTGRESQL, MYSQL or SQLITE of `app/core/engines.py`; PostgreSQL where no database is named."""
        return (
            engines.POSTGRESQL if self.database_url is None else engines.engine_of(self.database_url.get_secret_value())
        )

    @property
    def logs_json(self) -> bool:
        """Production logs JSON unless LOG_FORMAT says otherwise."""
        return self.app_env == "production" if self.log_format is None else self.log_format == "json"

    @property
    def webhook_keys(self) -> list[bytes]:
        """Return what WEBHOOK_SECRET holds, the newest first."""
        return _webhook_keys(self.webhook_secret)

    @cached_property
    def message_keys(self) -> tuple[bytes, ...]:
        """Return what signs messages (the first) and what they may be signed with (any)."""
        return tuple(hmac.digest(key.encode(), b"task_service: messages", "sha256") for key in self.accepted_keys)

    @property
    def costly_read_seconds(self) -> float:
        """The time of a statement that reads many rows."""
        return min(self.database_costly_read_seconds, self.database_statement_timeout_seconds)

    @property
    def docs_open(self) -> bool:
        """Swagger UI and metrics are open outside production unless DOCS_ENABLED says otherwise."""
        return self.app_env != "production" if self.docs_enabled is None else self.docs_enabled


def _webhook_keys(secrets: SecretStr | None) -> list[bytes]:
    return [decode_secret(secret) for secret in secrets.get_secret_value().split()] if secrets else []


def _verifying(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query, keep_blank_values=True):
        return url
    return f"{url}{'&' if parts.query else '?'}ssl_cert_reqs=required"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's settings, read once. Raises ConfigurationError, a line for each refused setting."""
    try:
        return Settings()
    except ValidationError as error:
        refused = [
            f"configuration: {_shown_name(problem['loc'])}{line}{_shown_example(problem['loc'])}"
            for problem in error.errors(include_input=False)
            for line in problem["msg"].removeprefix("Value error, ").splitlines()
        ]
        raise ConfigurationError("\n".join(dict.fromkeys(refused))) from None
    except SecretFileError as error:
        raise ConfigurationError(f"configuration: {error}") from None
    except UnicodeDecodeError as error:
        file = Settings.model_config.get("env_file")
        said = f"configuration: {file} is not in UTF-8 (byte {error.start + 1}): save it in that encoding"
        raise ConfigurationError(said) from None


def _stretched(key: str) -> str:
    return key if len(key.encode()) >= MIN_SECRET_BYTES else hashlib.sha256(key.encode()).hexdigest()


def _shown_name(loc: tuple[int | str, ...]) -> str:
    return f"{str(loc[0]).upper()}: " if loc else ""


def _shown_example(loc: tuple[int | str, ...]) -> str:
    """Return a value that the refused setting takes, as `.env` has it: an example of the field, or its default."""
    field = Settings.model_fields.get(str(loc[0])) if loc else None
    value = (field.examples or [field.default])[0] if field else None
    if value is None or value == []:
        return ""
    return f" (example: {str(loc[0]).upper()}={str(value).lower() if isinstance(value, bool) else value})"


# -- The checks that APP_ENV=production applies to the settings. No message repeats a value ----------------------------

MIN_SECRET_BYTES = 32
MIN_SECRET_CHARACTERS = 8
PLACEHOLDER_KEYS = frozenset({"your-secret-key", "changeme", "change-me", "secret", "secret-key", "default"})

# URL parameters that libpq, and then PyMySQL, accept instead of a password. PGPASSWORD, ~/.pgpass and ~/.my.cnf are not
# visible here: name a passfile, or a `read_default_file`.
_OTHER_CREDENTIALS_OF_URL = frozenset(
    {"password", "passfile", "sslcert", "service", "gssencmode", "passwd", "ssl_cert", "read_default_file"}
)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})


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


def refused_in_production(settings: CheckedSettings) -> Iterator[str]:
    """Yield a sentence for each setting that must not go into production."""
    key = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if not key:
        yield "needs SECRET_KEY (at least 32 bytes, random)"
    elif is_weak_key(key):
        yield "refuses this SECRET_KEY: short or a placeholder"
    # Tokens signed with an old key are accepted, so a weak old key lets anyone sign them.
    if any(is_weak_key(former.get_secret_value()) for former in settings.secret_key_previous):
        yield "refuses a key of SECRET_KEY_PREVIOUS: short or a placeholder"
    yield from () if settings.allow_passwordless_broker else _open_brokers(settings)
    if "*" in settings.cors_origins:
        yield "refuses CORS_ORIGINS with *: name the origins"
    if settings.debug:
        yield "refuses DEBUG: the log would contain every statement"
    if settings.database_url is not None and _is_open_database(settings.database_url.get_secret_value()):
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


def is_weak_key(key: str) -> bool:
    """Return whether a key is shorter than 32 bytes, a placeholder, or of fewer than eight different characters."""
    placeholder = key.lower() in PLACEHOLDER_KEYS or len(set(key)) < MIN_SECRET_CHARACTERS
    return placeholder or len(key.encode()) < MIN_SECRET_BYTES


def _is_open_database(url: str) -> bool:
    """Return whether only the network protects this database. A socket's folder is as local as localhost."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if "unix_socket" in options:  # PyMySQL uses it whatever the host
        return False
    hosts = options.get("host", [parts.hostname or ""])
    local = all(host in _LOCAL_HOSTS or host.startswith("/") for names in hosts for host in names.split(","))
    return not (local or parts.password or _OTHER_CREDENTIALS_OF_URL & options.keys())


# -- Warnings about settings that a process takes: a name that is probably misspelt, and a weak SECRET_KEY -------------

MAX_EDITS = 2
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What docker-compose.yml asks for beside settings.
OF_COMPOSE = frozenset({
    "API_PORT", "ENV_FILE", "FORWARDED_ALLOW_IPS", "POSTGRES_APP_PASSWORD", "POSTGRES_IMAGE", "POSTGRES_PASSWORD",
    "PYTHON_IMAGE", "TASK_SERVICE_IMAGE", "VALKEY_IMAGE", "VALKEY_PASSWORD", "VARIANT", "WORKER_CONCURRENCY",
})  # fmt: skip
# https://docs.celeryq.dev/en/stable/userguide/configuration.html, and what Celery 5 reads beside it.
OF_CELERY = frozenset({
    "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_CONFIG_MODULE", "CELERY_CUSTOM_WORKER_POOL",
    "CELERY_LOADER", "CELERY_LOG_FILE", "CELERY_LOG_LEVEL", "CELERY_LOG_REDIRECT", "CELERY_LOG_REDIRECT_LEVEL",
    "CELERY_RDB_HOST", "CELERY_RDB_PORT", "CELERY_SKIP_CHECKS", "CELERY_TRACE_APP", "C_FORCE_ROOT", "WORKER_LOGLEVEL",
})  # fmt: skip
# Settings of earlier code whose values are fixed now.
FIXED = frozenset({
    "ACCOUNT_CHANGES_PER_USER", "API_WAITING_PER_USER", "AUDITED_DEEDS_PER_DAY", "AUDITED_DEEDS_PER_MINUTE",
    "BUFFERED_BYTES", "BUFFERED_BYTES_PER_USER", "EVENTS_HEARTBEAT_SECONDS", "EVENTS_MAX_SECONDS",
    "EVENTS_POLL_SECONDS", "EVENTS_STREAMS", "EVENTS_STREAMS_PER_USER", "HEADER_TIMEOUT_SECONDS",
    "LOGINS_PER_ACCOUNT", "LOGINS_PER_ADDRESS", "LOGIN_ATTEMPTS_PER_ACCOUNT", "LOGIN_ATTEMPTS_PER_ADDRESS",
    "LOGIN_WINDOW_SECONDS", "MAINTENANCE_INTERVAL_SECONDS", "MAX_HEADERS", "MAX_HEADER_BYTES", "MAX_JSON_DEPTH",
    "MAX_JSON_VALUES", "MAX_METADATA_BYTES", "REQUESTS_PER_USER", "TRANSFER_MIN_BYTES_PER_SECOND",
    "TRANSFER_TIMEOUT_SECONDS", "WORKER_HEARTBEAT_SECONDS",
})  # fmt: skip
_OF_COMPOSE_ITSELF = ("COMPOSE_", "DOCKER_")
_OF_OTHERS = OF_COMPOSE | OF_CELERY | {"TASK_SERVICE_URL"}  # the last one is of clients

_logged_warnings: set[str] = set()


def warn_of_settings(settings: Settings) -> None:
    """Log each warning about the settings, once in this process."""
    for line in setting_warnings(settings):
        if line not in _logged_warnings:
            _logged_warnings.add(line)
            logger.warning("%s", line)


def setting_warnings(settings: Settings) -> Iterator[str]:
    """Yield a line for each name that is no setting, one for all that are fixed now, and for a weak SECRET_KEY.

    No line has a value.

    In `.env` every unknown name counts. The environment is full of other names: only one that is at most two edits
    away from a setting counts.
    """
    file = Settings.model_config.get("env_file")
    lines = _lines_of_env_file(Path(file)) if isinstance(file, str) and Path(file).is_file() else []
    for number, name in lines:
        if name is None:
            yield f"configuration: line {number} of .env is not NAME=value: it has no effect"
    in_file = {name: None for _, name in lines if name is not None}
    yield from misspelt_names(os.environ, in_file)
    if fixed := sorted(FIXED & {name.upper() for name in (*os.environ, *in_file)}):
        yield f"configuration: no settings any more, their values are fixed: {', '.join(fixed)}; remove them"
    key = settings.secret_key
    if settings.app_env != "production" and key is not None and is_weak_key(key.get_secret_value()):
        yield "SECRET_KEY is short or a placeholder: good enough for development only"


def _lines_of_env_file(file: Path) -> list[tuple[int, str | None]]:
    """Return the number and the name of each line; None for one without a name, which may be the rest of a secret."""
    with file.open(encoding="utf-8") as stream:
        parsed = list(parse_stream(stream))
    return [
        (
            each.original.line,
            each.key if each.key and each.value is not None and _VARIABLE_NAME.fullmatch(each.key) else None,
        )
        for each in parsed
        if each.key is not None or each.error
    ]


def misspelt_names(environment: Mapping[str, object], in_file: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each name of the two that is probably meant to be a setting."""
    known = {name.upper() for name in Settings.model_fields} | {name + SUFFIX for name in secret_names(Settings)}
    for name in in_file:
        if not _is_known_name(name, known):
            yield f"configuration: {name} in .env is no setting{did_you_mean(name, known)}: it has no effect"
    for name in environment.keys() - in_file.keys():
        if not _is_known_name(name, known) and any(edits(name.upper(), each, MAX_EDITS) <= MAX_EDITS for each in known):
            yield f"configuration: {name} in the environment is no setting{did_you_mean(name, known)}: it has no effect"


def _is_known_name(name: str, settings: set[str]) -> bool:
    # Names of settings have no case.
    return name.upper() in settings | FIXED or name in _OF_OTHERS or name.startswith(_OF_COMPOSE_ITSELF)
