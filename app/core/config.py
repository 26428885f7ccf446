"""The one typed class of settings; nothing else in `app/` reads the environment.

Every setting stands, explained, in `.env.example`.
"""

import hashlib
import hmac
import logging
import secrets
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core import production

logger = logging.getLogger(__name__)

# One host, or `*.` and all that are below it. An origin as a browser sends it: no path, not even a slash at the end.
HostPattern = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$", to_lower=True)]
Origin = Annotated[str, StringConstraints(pattern=r"^\*$|^https?://[A-Za-z0-9._\[\]:-]+$")]


class Settings(BaseSettings):
    """Environment variables, or `.env` in the working directory; variables win."""

    # Without hide_input_in_errors a refused SECRET_KEY or DATABASE_URL would be printed.
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    app_env: Literal["development", "production"] = "development"
    log_format: Literal["text", "json"] | None = None

    database_url: SecretStr | None = None
    database_pool_size: int = Field(5, ge=1, le=100)
    database_connect_timeout_seconds: int = Field(3, ge=1)
    database_max_idle_seconds: float = Field(30, gt=0)
    database_statement_timeout_seconds: float = Field(30, gt=0)

    celery_broker_url: SecretStr | None = None
    celery_result_backend: SecretStr | None = None
    allow_passwordless_broker: bool = False
    sign_messages: bool = False
    remote_control: Literal["read", "full", "off"] = "read"

    secret_key: SecretStr | None = None
    secret_key_previous: Annotated[list[SecretStr], NoDecode] = []
    access_token_minutes: int = Field(15, ge=1, le=15)
    refresh_token_days: int = Field(14, ge=1)
    allow_registration: bool = True
    login_attempts: int = Field(10, ge=1)
    login_attempts_per_address: int = Field(100, ge=1)
    login_window_seconds: int = Field(900, ge=1)
    registrations_per_address: int = Field(100, ge=1)
    api_keys_per_user: int = Field(50, ge=1)

    first_admin_username: str | None = None
    first_admin_password: SecretStr | None = None
    first_admin_email: str | None = None

    api_threads: int = Field(4, ge=1)
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024)
    max_json_depth: int = Field(64, ge=1, le=200)
    docs_enabled: bool | None = None
    max_header_bytes: int = Field(32 * 1024, ge=4096)
    max_headers: int = Field(100, ge=10)
    header_timeout_seconds: float = Field(20, gt=0)
    allowed_hosts: list[HostPattern] = []
    cors_origins: list[Origin] = []
    debug: bool = False

    max_arguments_bytes: int = Field(256 * 1024, ge=1024)
    max_metadata_bytes: int = Field(64 * 1024, ge=1024)
    max_result_bytes: int = Field(1024 * 1024, ge=1024)
    quota_queued_tasks: int = Field(200_000, ge=0)
    quota_queued_bytes: int = Field(1024**3, ge=0)
    quota_tasks_per_minute: int = Field(300_000, ge=0)

    events_streams_per_user: int = Field(50, ge=1)
    events_streams: int = Field(5000, ge=1)
    events_heartbeat_seconds: float = Field(15, gt=0)
    events_max_seconds: float = Field(3600, gt=0)
    events_poll_seconds: float = Field(3, gt=0)

    task_modules: list[str] = []
    worker_heartbeat_seconds: float = Field(3, gt=0)
    worker_lease_seconds: float = Field(30, gt=0)
    cancel_grace_seconds: float = Field(5, gt=0)
    shutdown_grace_seconds: float = Field(20, ge=0)
    max_crashes: int = Field(3, ge=1, le=3)
    keeper_lease_seconds: float = Field(3, gt=0)
    keeper_interval_seconds: float = Field(0.5, gt=0)
    dispatch_grace_seconds: float = Field(5, gt=0)
    progress_interval_seconds: float = Field(0.2, gt=0)

    retention_days: float = Field(30, gt=0)
    login_retention_days: float = Field(30, gt=0)

    smtp_host: str = "localhost"
    smtp_port: int = Field(25, ge=1, le=65535)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_starttls: bool = False
    smtp_from: str = "task-service@localhost"

    outbound_allow: list[str] = []
    outbound_deny: list[str] = []
    outbound_max_bytes: int = Field(50 * 1024 * 1024, ge=1024)
    webhook_secret: SecretStr | None = None

    @field_validator("database_url")
    @classmethod
    def _use_psycopg2(cls, value: SecretStr | None) -> SecretStr | None:
        """A plain `postgresql://` means psycopg2 here; SQLAlchemy 2.1 would take psycopg 3."""
        if value is None:
            return None
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme in {"postgresql", "postgres"}:
            scheme = "postgresql+psycopg2"
        if scheme != "postgresql+psycopg2":
            raise ValueError("DATABASE_URL must be a postgresql:// URL: no other database works yet")
        return SecretStr(f"{scheme}{separator}{rest}")

    @field_validator("secret_key_previous", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        """Separated by commas or white space, as people write them into an environment variable."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("outbound_allow", "outbound_deny")
    @classmethod
    def _name_places(cls, value: list[str]) -> list[str]:
        from app.outbound.policy import Places

        Places.of(value)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _holds_webhook_keys(cls, value: SecretStr | None) -> SecretStr | None:
        _webhook_keys(value)
        return value

    @field_validator("celery_broker_url", "celery_result_backend")
    @classmethod
    def _has_a_port(cls, value: SecretStr | None) -> SecretStr | None:
        """With a `/` in it, part of a password is taken for the port, and quoted by whoever fails to read it."""
        try:
            ports = [urlsplit(each).port for each in value.get_secret_value().split(";")] if value else []
        except ValueError:
            raise ValueError("must be a URL: percent-encode what is special in its password") from None
        del ports
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

        Outside production a short key is stretched and a missing one made up, so that the first steps work;
        a made-up key differs between processes, hence the warning.
        """
        if self.secret_key is None:
            logger.warning("SECRET_KEY is not set: tokens will not outlive this process")
            return secrets.token_hex(32)
        key = self.secret_key.get_secret_value()
        if len(key.encode()) < production.MIN_SECRET_BYTES:
            logger.warning("SECRET_KEY is shorter than 32 bytes: good enough for development only")
        return _stretched(key)

    @cached_property
    def accepted_keys(self) -> list[str]:
        """What access tokens may be signed with: `signing_key`, and SECRET_KEY_PREVIOUS, which signs nothing."""
        return [self.signing_key, *(_stretched(key.get_secret_value()) for key in self.secret_key_previous)]

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
    def docs_open(self) -> bool:
        """Swagger UI and metrics are open outside production unless DOCS_ENABLED says otherwise."""
        return self.app_env != "production" if self.docs_enabled is None else self.docs_enabled


def _webhook_keys(secrets: SecretStr | None) -> list[bytes]:
    from app.outbound.signatures import key_of

    return [key_of(secret) for secret in secrets.get_secret_value().split()] if secrets else []


def _verifying(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query, keep_blank_values=True):
        return url
    return f"{url}{'&' if parts.query else '?'}ssl_cert_reqs=required"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. Ends the process with a line for each setting that is refused."""
    try:
        return Settings()
    except ValidationError as error:
        refused = [
            f"{_name(problem['loc'])}{line}"
            for problem in error.errors(include_input=False)
            for line in _plain(problem["msg"]).splitlines()
        ]
        raise SystemExit("\n".join(f"configuration: {line}" for line in refused)) from None


def _stretched(key: str) -> str:
    return key if len(key.encode()) >= production.MIN_SECRET_BYTES else hashlib.sha256(key.encode()).hexdigest()


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _name(loc: tuple[int | str, ...]) -> str:
    return f"{str(loc[0]).upper()}: " if loc else ""
