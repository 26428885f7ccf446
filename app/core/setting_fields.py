"""Every setting with its type, default, bounds and description; `config.py` checks what one field alone cannot.

docs/configuration.md and .env.example are written from these fields by `python -m tests.support.settings_reference
--write`. So a description is plain text that reads well in both: Markdown's backticks are its only markup.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.secret_files import read_secret_files

# One host, or `*.` and all that are below it. An origin as a browser sends it: no path, not even a slash at the end.
HostPattern = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$", to_lower=True)]
Origin = Annotated[str, StringConstraints(pattern=r"^\*$|^https?://[A-Za-z0-9._\[\]:-]+$")]
# Everyone, a role, or one user by the id: a name can be changed by its owner, and then taken by another user.
Users = Annotated[
    str, StringConstraints(pattern=r"^\*$|^role:(user|admin)$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
]
# One mail domain, `*.` and all that are below it, or `*` for any.
MailDomain = Annotated[
    str, StringConstraints(pattern=r"^\*$|^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", to_lower=True)
]
T = TypeVar("T")


def _split(value: Any) -> Any:
    """Return a list as people write it into an environment variable: with commas or spaces, or as JSON."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return value.replace(",", " ").split()
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("neither names with commas between them nor a JSON list of texts") from None


def _by_name(value: Any) -> Any:
    """`a:6,b:3` as a mapping. A name that stands there twice would lose a value without a word."""
    if not isinstance(value, str):
        return value
    pairs = [each.strip().rpartition(":") for each in value.split(",") if each.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not all(names):
        raise ValueError("names with a colon and a number each, and commas between them")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} stands there twice")
    return {name.strip(): number.strip() for name, _, number in pairs}


Listed = Annotated[list[T], NoDecode, BeforeValidator(_split)]
Share = Annotated[int, Field(ge=1, le=1000)]
Shares = Annotated[dict[str, Share], NoDecode, BeforeValidator(_by_name)]


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets whose files the variables of another source name. Raises SecretFileError."""

    def __init__(self, settings_cls: type[BaseSettings], variables: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing: `__call__` reads all fields at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets by the names of their fields."""
        given = self._variables.env_vars if isinstance(self._variables, EnvSettingsSource) else {}
        upper = {name.upper(): value for name, value in given.items() if value}
        found = read_secret_files(secret_names(self.settings_cls), upper)
        return {name.lower(): value for name, value in found.items()}


def secret_names(settings: type[BaseSettings]) -> list[str]:
    """Return the names of the variables that hold secrets, each of which may be a file (`NAME_FILE`)."""
    return [name.upper() for name, field in settings.model_fields.items() if "SecretStr" in str(field.annotation)]


class SettingFields(BaseSettings):
    """Environment variables, or `.env` in the working directory; variables win. A default of None means empty."""

    # Without hide_input_in_errors a refused SECRET_KEY or DATABASE_URL would be printed.
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (a directory of secrets, which nobody names)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the first one winning: behind variables and `.env`, the files of each."""
        of_variables, of_env_file = (SecretFiles(settings_cls, each) for each in (env_settings, dotenv_settings))
        return init_settings, env_settings, of_variables, dotenv_settings, of_env_file

    app_env: Literal["development", "production"] = Field(
        "development",
        description="`production` logs JSON, closes docs and metrics, and refuses unsafe settings at the start: "
        "a missing, short or placeholder SECRET_KEY, a weak FIRST_ADMIN_PASSWORD, a Redis without a password, `*` in "
        "CORS_ORIGINS, DEBUG, and a remote DATABASE_URL without a password, `sslcert=`, `passfile=` or `service=` "
        "(MySQL: `ssl_cert=` or `read_default_file=`).",
    )
    log_format: Literal["text", "json"] | None = Field(
        None,
        description="Format of the log on stderr, one event a line. Empty: `json` in production, else `text`. Secrets "
        "are hidden in both.",
    )
    debug: bool = Field(False, description="Logs each SQL statement without its parameters. Production refuses it.")

    database_url: SecretStr | None = Field(
        None,
        examples=["postgresql://user:password@localhost:5432/dbname"],
        description="The database, and with it the engine (docs/servers.md): PostgreSQL 17 or later (`postgresql://`), "
        "MariaDB 10.6 or MySQL 8.0.19 or later (`mysql://`, with the extra `mysql`), or a file of SQLite 3.45 or later "
        "(`sqlite:////var/lib/task-service/tasks.db`, an absolute path). Parameters of libpq or PyMySQL may follow, "
        "such as `?sslmode=verify-full` or `?ssl_ca=/etc/ssl/ca.pem`. Not needed with `run_server.py`, which has a "
        "database of its own.",
    )
    database_pool_size: int = Field(
        5,
        ge=1,
        le=100,
        description="Connections that each process keeps open; under load it opens as many again. An API process uses "
        "three more for grouped requests, and one for each batch in progress. With a pool that does not fork (solo, "
        "threads), set at least the number of tasks that run at once.",
    )
    database_connect_timeout_seconds: int = Field(
        3, ge=1, description="Seconds to wait for a new connection, or for a free one of the pool."
    )
    database_max_idle_seconds: float = Field(
        30,
        gt=0,
        description="A connection that was idle for so many seconds is replaced before its use. Keep it below the idle "
        "timeout of firewalls between the service and the database.",
    )
    database_statement_timeout_seconds: float = Field(
        30,
        gt=0,
        description="Seconds after which the database stops a statement (MySQL, unlike MariaDB: a read). A list or "
        "count that takes longer answers 503 `took_too_long`.",
    )

    database_costly_read_seconds: float = Field(
        10,
        gt=0,
        description="As DATABASE_STATEMENT_TIMEOUT_SECONDS, for reads that look at many rows, such as lists and "
        "counts by `name` or `tag`; docs/http-api.md lists them. The shorter of the two holds.",
    )

    celery_broker_url: SecretStr | None = Field(
        None,
        examples=["redis://:password@localhost:6379/0"],
        description="Redis or Valkey; `rediss://` for TLS (docs/servers.md#the-broker). RabbitMQ (`amqp://`) has not "
        "been tested. Not needed with `run_server.py`, which starts a server of its own.",
    )
    celery_result_backend: SecretStr | None = Field(
        None,
        examples=["redis://:password@localhost:6379/0"],
        description="Where Celery stores results for Celery's own clients. The service never reads it. Empty: nowhere.",
    )
    allow_passwordless_broker: bool = Field(
        False,
        description="Lets production start with a Redis without a password. Use it where only the service can reach "
        "that Redis.",
    )
    sign_messages: bool = Field(
        False,
        description="Signs messages with a key derived from SECRET_KEY; workers drop all others. Set it alike in every "
        "process (docs/servers.md#the-broker).",
    )
    remote_control: Literal["read", "full", "off"] = Field(
        "read",
        description="Celery's remote control of workers. `read`: inspection only, such as `celery inspect ping`; "
        "`full`: commands too, such as `shutdown`; `off`: none, so the health checks of docker-compose.yml fail.",
    )

    secret_key: SecretStr | None = Field(
        None,
        description="Signs access tokens; the same in every process; at least 32 bytes in production. Make one with:\n"
        '`python3 -c "import secrets; print(secrets.token_hex(32))"`',
    )
    secret_key_previous: Listed[SecretStr] = Field(
        [],
        description="Keys that still verify tokens while SECRET_KEY is replaced, separated by commas. They sign "
        "nothing (docs/repair.md#rotating-secret_key).",
    )
    access_token_minutes: int = Field(15, ge=1, le=15, description="Lifetime of an access token, in minutes.")
    refresh_token_days: int = Field(
        14, ge=1, description="Longest lifetime of a login, in days, however often it is refreshed."
    )
    allow_registration: bool = Field(True, description="Lets anyone register. Administrators can always create users.")
    login_attempts: int = Field(
        10,
        ge=1,
        description="Failed logins of one account from one address before it answers 429. The wait is a second and "
        "doubles with each failure up to 15 minutes (docs/http-api.md#logins-keys-users). Behind a proxy, name it in "
        "FORWARDED_ALLOW_IPS, or all clients share its address. An IPv6 address stands for its /64 network.",
    )
    registrations_per_address: int = Field(
        100,
        ge=1,
        description="Registrations from one address within 15 minutes before it answers 429, whether the "
        "name was taken or not. Counted apart: changes of names and e-mail addresses from one address.",
    )
    api_keys_per_user: int = Field(
        50, ge=1, description="API keys that one user may have, without revoked and expired ones."
    )

    first_admin_username: str | None = Field(
        None, description="Name of the first administrator, created at the start unless the name exists."
    )
    first_admin_password: SecretStr | None = Field(
        None,
        description="Password of the first administrator: 15 characters or more, not easy to guess. A weak one creates "
        "nobody, and production refuses it.",
    )
    first_admin_email: str | None = Field(
        None, description="E-mail address of the first administrator. Empty: `<username>@localhost`."
    )

    api_threads: int = Field(
        4,
        ge=1,
        description="Threads of one API process for ordinary requests. Tokens, submits and single reads have one "
        "thread each besides, and one is kept for another user. More threads make a process slower, not faster.",
    )
    max_body_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1024,
        description="Largest request body, in bytes; else 413. Bodies about users and logins have lower limits "
        "(docs/http-api.md).",
    )
    max_connections: int | None = Field(
        None,
        ge=16,
        description="Connections of one API process. Beyond, idle ones are closed, first those of the address that has "
        "most of them. Empty: the limit of open files (`ulimit -n`) less 128.",
    )
    docs_enabled: bool | None = Field(
        None,
        description="Opens Swagger UI (`/docs`), `/openapi.json` and `/metrics`. Empty: open outside production. "
        "Administrators can always read `/metrics`.",
    )
    web_ui: bool = Field(True, description="Serves the web pages at `/ui/`.")
    allowed_hosts: Listed[HostPattern] = Field(
        [],
        examples=["tasks.example.com,*.internal.example.com"],
        description="Host names that requests may use: `tasks.example.com,*.internal.example.com`. Others "
        "answer 400, except at `/healthz` and `/readyz`. Empty: any well-formed name.",
    )
    cors_origins: Listed[Origin] = Field(
        [],
        examples=["https://app.example.com"],
        description="Origins whose web pages may call the API: `https://app.example.com`. Empty: none.",
    )
    mcp_enabled: bool = Field(
        False,
        description="Serves the tasks as tools at `/mcp` (Model Context Protocol, docs/mcp.md). Needs the extra `mcp`.",
    )
    mcp_call_seconds: float = Field(
        50,
        gt=0,
        le=3600,
        description="How long a call of a tool waits for its task, at most. Then it answers with the task's id and "
        "state. Many clients and proxies give up after 60 seconds.",
    )

    max_arguments_bytes: int = Field(
        256 * 1024,
        ge=1024,
        description="Largest `args` plus `kwargs` of a task as stored JSON, in bytes; else 422. A character outside "
        "ASCII takes six bytes or more.",
    )
    max_result_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        description="Largest result or progress detail as stored JSON, in bytes. A larger result fails the task with "
        "`ResultTooLarge`.",
    )
    quota_queued_tasks: int = Field(
        200_000,
        ge=0,
        description="Pending and running tasks of one user; else 429. 0: no limit. Quotas hold for administrators too, "
        "and not for the Python API.",
    )
    quota_queued_bytes: int = Field(
        1024**3, ge=0, description="Bytes of arguments of one user's pending and running tasks; else 429. 0: no limit."
    )
    quota_tasks_per_minute: int = Field(
        300_000, ge=0, description="New tasks of one user in a minute; else 429. 0: no limit."
    )

    quota_stored_bytes: int = Field(
        10 * 1024**3,
        ge=0,
        description="Bytes that one user may keep: 1 KiB for each task, its arguments, metadata and result, and what "
        "its attempts left; else 429. Tasks that have been accepted run on and write their results. 0: no limit.",
    )

    quota_running_tasks: int = Field(
        0,
        ge=0,
        description="Tasks of one user that run at the same time; the others wait (`waiting_for` `limit`). Holds for "
        "administrators and the Python API too. Set the same value for all processes. 0: no limit.",
    )

    quota_bulk_deeds: int = Field(
        10, ge=0, description="Running bulk operations of one user (`POST /tasks/bulk/…`); else 429. 0: no limit."
    )

    quota_schedules: int = Field(1000, ge=0, description="Schedules of one user; else 429. 0: no limit.")

    storage_url: str = Field(
        "file:.data/files",
        examples=["s3://bucket/prefix"],
        pattern=r"^(file:|s3://)",
        description="Where the bytes of files and artifacts are: `file:` and a directory that the API and all workers "
        "share, or `s3://bucket/prefix` (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION; AWS_ENDPOINT_URL for "
        "another server than Amazon's).",
    )
    max_file_bytes: int = Field(
        2 * 1024**3, ge=1024, description="Largest file of an upload, and largest artifact, in bytes; else 413."
    )
    file_retention_days: float = Field(
        30,
        gt=0,
        description="Days after which a file is deleted, but not while a pending task or a schedule names it. An "
        "artifact goes with its task.",
    )

    max_task_data_bytes: int = Field(
        1024**3,
        ge=1024 * 1024,
        description="Largest table, decompressed, that tasks such as `profile_data` and `train_model` read, in bytes. "
        "Sorting, joining, grouping and training need memory by this size.",
    )

    task_modules: Listed[str] = Field(
        [],
        examples=["mycompany.tasks"],
        description="Modules with your tasks, for API, workers and beat: `mycompany.tasks`.",
    )
    task_build_id: str | None = Field(
        None,
        max_length=255,
        examples=["2026-12-01.3"],
        description="Your build of the tasks, such as a commit or an image's tag. `GET /workers/` shows it for each "
        "worker.",
    )
    queue_shares: Shares = Field(
        {},
        examples=["high_priority:6,default:3,low_priority:1"],
        description="Shares of the queues in the tasks that a worker starts, 1 to 1000 each, while all have some "
        "ready: `high_priority:6,default:3,low_priority:1`. An empty queue gives its share to the others. A queue that "
        "is not named has the share 1. Empty: strict order, so a lower queue waits until no task of a higher one is "
        "ready.",
    )
    worker_lease_seconds: float = Field(
        30, gt=0, description="Seconds without a heartbeat after which a worker is lost and its tasks run again."
    )
    cancel_grace_seconds: float = Field(
        5,
        gt=0,
        description="Seconds that a cancelled body has to end after the exception, before SIGKILL. A soft time limit "
        "has as long to reach a body.",
    )
    task_time_limit_seconds: float = Field(
        86_400,
        ge=0,
        description="Hard time limit of an attempt whose task names none: no `timeout_seconds` in the request, no "
        "`time_limit` of the task or of Celery. For tasks with a record. 0: no limit.",
    )
    task_memory_bytes: int | None = Field(
        None,
        ge=16 * 1024**2,
        examples=[1024**3],
        description="Bytes of memory that an attempt may take beyond what its process had before. One that takes more "
        "is killed, and its task fails with `MemoryLimitExceeded` and is not tried again. For tasks with a record, on "
        "Linux, in a pool of processes. Processes that a task starts are not counted. Choose it so that all slots "
        "together fit into the machine. Empty: no limit.",
    )
    shutdown_grace_seconds: float = Field(
        20,
        ge=0,
        description="Seconds that running tasks may go on after SIGTERM; then the worker hands them back. Give the "
        "process this plus CANCEL_GRACE_SECONDS and a few seconds (`terminationGracePeriodSeconds`, "
        "`TimeoutStopSec`).",
    )
    max_crashes: int = Field(3, ge=1, le=3, description="Lost workers after which a task fails.")
    maintenance_lease_seconds: float = Field(
        3, gt=0, description="Seconds after which another process takes over the maintenance loop from a silent leader."
    )
    progress_interval_seconds: float = Field(
        0.2, gt=0, description="Seconds between two writes of one task's progress."
    )
    task_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF"] = Field(
        "INFO",
        description="What bodies log at this level and above is kept with the task; printed lines have the level INFO, "
        "those to stderr WARNING. `OFF` keeps nothing. What the worker itself logs does not change.",
    )
    task_log_bytes: int = Field(
        1024 * 1024,
        ge=0,
        description="Bytes of log lines that are kept for one task, the newest ones: 0 for none, else 65536 at least. "
        "They count in QUOTA_STORED_BYTES and RETENTION_BYTES.",
    )
    task_output_bytes: int = Field(
        16 * 1024**2,
        ge=1024,
        description="Bytes that the bodies of one task may emit in all its attempts, 128 for each chunk included; then "
        "`emit` raises `OutputTooLarge`. They count in QUOTA_STORED_BYTES and RETENTION_BYTES.",
    )

    retention_days: float = Field(30, gt=0, description="Days after which an ended task is deleted.")
    retention_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of one user's ended tasks above which those that ended first are deleted, but none within "
        "an hour of its end. Counted as in QUOTA_STORED_BYTES. 0: no limit.",
    )
    login_retention_days: float = Field(30, gt=0, description="Days after which an ended login or API key is deleted.")

    mail_domains: Listed[MailDomain] = Field(
        [],
        examples=["example.com,*.example.org"],
        description="Domains to which `send_email` may send: `example.com,*.example.org`; `*`: any. Without this and "
        "SMTP_HOST the task cannot be created.",
    )
    mail_users: Listed[Users] = Field(
        ["role:admin"],
        examples=["role:admin,01a213c6-3f81-74c8-aeeb-c2736bdaeb8c"],
        description="Users who may create `send_email`: `role:admin`, `role:user`, ids of users, or `*` for everyone.",
    )
    mail_recipients_per_day: int = Field(
        100, ge=0, description="Recipients of one user's mails in a day, UTC; then `send_email` fails. 0: no limit."
    )
    mail_attachment_bytes: int = Field(
        20 * 1024 * 1024, ge=0, description="Largest attachments of one mail of `send_email` together, in bytes."
    )
    smtp_host: str | None = Field(None, description="Mail server of the task `send_email`. Empty: no mails.")
    smtp_port: int = Field(25, ge=1, le=65535, description="Port of the mail server.")
    smtp_username: str | None = Field(None, description="User name at the mail server. Empty: no login.")
    smtp_password: SecretStr | None = Field(None, description="Password at the mail server.")
    smtp_starttls: bool = Field(False, description="Requires STARTTLS.")
    smtp_from: str = Field("task-service@localhost", description="Sender address of mails.")

    outbound_allow: Listed[str] = Field(
        [],
        examples=["10.20.0.0/16,build.corp.example"],
        description="Networks and hosts that webhooks and requests of `fetch_url` may reach although they are "
        "not public: `10.20.0.0/16,build.corp.example,*.lan.example`. A named host may resolve to any "
        "address and use any port. Set it alike for API and workers.",
    )
    outbound_deny: Listed[str] = Field(
        [],
        examples=["203.0.113.0/24"],
        description="Networks and hosts that such requests must not reach although they are public. OUTBOUND_ALLOW "
        "wins: with `0.0.0.0/0,::/0` here, only what it names can be reached.",
    )
    outbound_users: Listed[Users] = Field(
        ["*"],
        examples=["role:admin"],
        description="Users who may create `fetch_url`, `send_webhook` and endpoints of webhooks, and name a "
        "`webhook_url`, as in MAIL_USERS.",
    )
    outbound_requests_per_day: int = Field(
        100_000,
        ge=0,
        description="Requests of `fetch_url` and `send_webhook` of one user in a day, UTC, repeated attempts included; "
        "then they fail. Endpoints and `webhook_url` are not counted. 0: no limit.",
    )
    outbound_max_bytes: int = Field(
        50 * 1024 * 1024, ge=1024, description="Largest answer that `fetch_url` reads, in bytes."
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs `send_webhook` and `webhook_url` (Standard Webhooks): `whsec_` and base64. Empty: none of "
        "these are sent; endpoints have secrets of their own. To "
        "change it, put the new one before the old one with a space between (docs/webhooks.md). Make one with:\n"
        """`python3 -c "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())"`""",
    )
