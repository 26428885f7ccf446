"""The one typed class of settings; nothing else in `app/` reads the environment.

The settings themselves are declared in `setting_fields.py`; this module checks them and derives from them.
"""

import hashlib
import hmac
import logging
import secrets
from functools import cached_property, lru_cache
from typing import Self
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr, ValidationError, field_validator, model_validator

from app.core import engines, production
from app.core.host_rules import HostRules
from app.core.setting_fields import SettingFields
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
        """One line may be as long as a message, a traceback and its fields together."""
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
        """With a `/` or `@` in it, part of a password is taken for the port or host, and quoted in an error."""
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
        """Celery takes what has no scheme for RabbitMQ, and one that it does not know for a fault that passes."""
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
        refused = list(production.refused(self)) if self.app_env == "production" else []
        if refused:
            raise ValueError("\n".join(f"APP_ENV=production {what}" for what in refused))
        return self

    @cached_property
    def signing_key(self) -> str:
        """What signs access tokens, never shorter than 32 bytes.

        Outside production a short key is stretched (the start warns of it) and a missing one made up, so that the first
        steps work; a made-up key differs between processes, hence the warning.
        """
        if self.secret_key is None:
            logger.warning("SECRET_KEY is not set: tokens will not outlive this process")
            return secrets.token_hex(32)
        return _stretched(self.secret_key.get_secret_value())

    @cached_property
    def accepted_keys(self) -> list[str]:
        """What access tokens may be signed with: `signing_key`, and SECRET_KEY_PREVIOUS, which signs nothing."""
        return [self.signing_key, *(_stretched(key.get_secret_value()) for key in self.secret_key_previous)]

    @property
    def database_engine(self) -> str:
        """POSTGRESQL, MYSQL or SQLITE of `app/core/engines.py`; PostgreSQL where no database is named."""
        return (
            engines.POSTGRESQL if self.database_url is None else engines.engine_of(self.database_url.get_secret_value())
        )

    @property
    def logs_json(self) -> bool:
        """Production logs JSON unless LOG_FORMAT says otherwise."""
        return self.app_env == "production" if self.log_format is None else self.log_format == "json"

    @property
    def webhook_keys(self) -> list[bytes]:
        """What WEBHOOK_SECRET holds, the newest first."""
        return _webhook_keys(self.webhook_secret)

    @cached_property
    def message_keys(self) -> tuple[bytes, ...]:
        """What signs messages (the first) and what they may be signed with (any)."""
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
    """The settings of this process, read once. Raises ConfigurationError, with a line for each refused setting."""
    try:
        return Settings()
    except ValidationError as error:
        refused = [
            f"configuration: {_name(problem['loc'])}{line}{_example(problem['loc'])}"
            for problem in error.errors(include_input=False)
            for line in _plain(problem["msg"]).splitlines()
        ]
        raise ConfigurationError("\n".join(dict.fromkeys(refused))) from None
    except UnicodeDecodeError as error:
        file = Settings.model_config.get("env_file")
        said = f"configuration: {file} is not in UTF-8 (byte {error.start + 1}): save it in that encoding"
        raise ConfigurationError(said) from None


def _stretched(key: str) -> str:
    return key if len(key.encode()) >= production.MIN_SECRET_BYTES else hashlib.sha256(key.encode()).hexdigest()


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _name(loc: tuple[int | str, ...]) -> str:
    return f"{str(loc[0]).upper()}: " if loc else ""


def _example(loc: tuple[int | str, ...]) -> str:
    """A value that the refused setting takes, as it is written in `.env`: an example of the field, or its default."""
    field = Settings.model_fields.get(str(loc[0])) if loc else None
    value = (field.examples or [field.default])[0] if field else None
    if value is None or value == []:
        return ""
    return f" (example: {str(loc[0]).upper()}={str(value).lower() if isinstance(value, bool) else value})"
