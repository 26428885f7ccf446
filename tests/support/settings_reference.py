"""docs/configuration.md and .env.example, written from the settings class: `python -m tests.support.settings_reference`.

Without an option it tells which of the two is out of date (exit code 1); with `--write` it writes them.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120
# Each section by the setting that it begins with.
SECTIONS = {
    "app_env": "Service",
    "database_url": "Database",
    "celery_broker_url": "Broker",
    "secret_key": "Logins and API keys",
    "first_admin_username": "First administrator",
    "api_threads": "HTTP",
    "max_arguments_bytes": "Limits of one task and of one user",
    "storage_url": "Files",
    "task_modules": "Tasks and workers",
    "retention_days": "Retention",
    "mail_domains": "E-mail (the task send_email)",
    "outbound_allow": "Requests to URLs that users name",
}
ENV_HEAD = """\
Every setting with its default. Copy this file to `.env` and remove the `#` from the lines that you change.
Environment variables win over `.env`. `python3 run_server.py` needs none of this: it starts a database and a broker,
unless DATABASE_URL or CELERY_BROKER_URL names one. As a table: docs/configuration.md. A secret may stand in a file:
SECRET_KEY_FILE names it, and so for each of DATABASE_URL, CELERY_BROKER_URL and the others that are secret."""
PAGE_HEAD = """\
# Configuration

Settings are environment variables, or lines of a file `.env` in the working directory. Environment variables win. An
empty value counts as not set. A setting that is refused ends the process with one line that names it.
[.env.example](../.env.example) holds the same settings as a file to copy. `python3 run_server.py` needs none of them.

A secret may stand in a file, as Docker and Kubernetes mount them: `SECRET_KEY_FILE=/run/secrets/secret_key`, and so for each
setting whose values are *secret* below. The last line end is no part of it. Both, the setting and its file, are refused.

Lists have commas between their items, `a.example,b.example`, or are JSON, `["a.example", "b.example"]`.

A name that is no setting is a warning at the start and in `python -m app check`: each unknown name in `.env`, and in the
environment one that is at most two letters away from a setting.

## The ten that one needs

`DATABASE_URL`, `CELERY_BROKER_URL`, `SECRET_KEY`, `APP_ENV`, `FIRST_ADMIN_USERNAME` with `FIRST_ADMIN_PASSWORD`, `TASK_MODULES`,
`ALLOWED_HOSTS`, `RETENTION_DAYS`, `QUOTA_QUEUED_TASKS`, and `WEBHOOK_SECRET`, without which no webhook is sent.
"""
PAGE_FOOT = """
## Variables of other programs

| variable | read by | meaning |
|---|---|---|
| `PROMETHEUS_MULTIPROC_DIR` | prometheus_client | An empty directory, shared by all API, worker and beat processes: `/metrics` then adds their counts up ([operations](operations.md#metrics)). |
| `FORWARDED_ALLOW_IPS` | uvicorn, `run_server.py`, `python -m app serve` | Addresses of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count ([deployment](deployment.md#behind-a-proxy)). |
| `TASK_SERVICE_URL` | clients, and what these documents have you paste | The address of the service, without a path. `run_server.py` writes that of its start to `.data/env`. |
| `LC_ALL`, `LANG`, `NO_COLOR` | `python -m app doctor`, `task-service` | The language of their texts, and whether they are without colour ([repair](repair.md#doctor), [command line](command-line.md)). |
| `SSL_CERT_FILE` | OpenSSL | The certificate authorities that outbound requests trust, in place of the machine's. |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` | obstore | Account, region and server of `STORAGE_URL=s3://…` ([files](files.md#where-the-bytes-are)). |
| `POSTGRES_PASSWORD`, `POSTGRES_APP_PASSWORD`, `VALKEY_PASSWORD` | `docker-compose.yml` | Passwords, letters and digits: of the role that owns the tables, of the role that runs the service ([two database roles](servers.md#two-database-roles)), of the broker. |
| `ENV_FILE` | `docker-compose.yml` | The file of settings that the containers get (`.env`). |
| `TASK_SERVICE_IMAGE`, `VARIANT` | `docker-compose.yml` | The image of the service (`task-service`), such as one with [tasks of your own](deployment.md#own-tasks); `VARIANT=full` builds it with the extras `data` and `ml`. |
| `PYTHON_IMAGE`, `POSTGRES_IMAGE`, `VALKEY_IMAGE` | `docker-compose.yml` | Base images, for example with a digest. |
| `API_PORT`, `WORKER_CONCURRENCY` | `docker-compose.yml` | The published port (8000), and the tasks that each worker runs at once (2). |

This page and `.env.example` are written from `app/core/setting_fields.py`:
`python -m tests.support.settings_reference --write`.
"""

KINDS = {bool: "`true`/`false`", int: "integer", float: "number", str: "text", SecretStr: "secret"}
UNITS = (("GiB", 30), ("MiB", 20), ("KiB", 10))
SIGNS = (("ge", "≥"), ("gt", ">"), ("le", "≤"))

Named = tuple[str, FieldInfo]


def sections() -> Iterator[tuple[str, list[Named]]]:
    """Each section's title and settings, in the order of the class."""
    found: dict[str, list[Named]] = {}
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            found[SECTIONS[name]] = []
        found[list(found)[-1]].append((name, field))
    yield from found.items()


def default_of(field: FieldInfo) -> str:
    """The default as an environment variable would hold it; "" where there is none."""
    if NoDecode in field.metadata and isinstance(field.default, list) and field.default:
        return ",".join(field.default)
    if field.default is None or NoDecode in field.metadata:
        return ""
    return field.default if isinstance(field.default, str) else json.dumps(field.default)


def values_of(field: FieldInfo) -> str:
    """Return which values a setting takes: its kind, and its bounds beside 0 and 1."""
    optional = get_origin(field.annotation) in {Union, UnionType}
    kind = get_args(field.annotation)[0] if optional else field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) is list:
        return "secrets" if get_args(kind) == (SecretStr,) else "list"
    if get_origin(kind) is dict:
        return "names with numbers"
    named = [(sign, getattr(each, name)) for each in field.metadata for name, sign in SIGNS if hasattr(each, name)]
    bounds = [(sign, bound) for sign, bound in named if bound > 1]  # that a number is not negative needs no word
    return ", ".join([KINDS[kind], *(f"{sign} {bound:,}" for sign, bound in bounds)])


def example_file() -> str:
    """The text of .env.example."""
    lines = [_commented(ENV_HEAD)]
    for title, settings in sections():
        lines += ["", f"# ---- {title} ".ljust(WIDTH, "-"), ""]
        for name, field in settings:
            value = default_of(field) if field.default is not None else (field.examples or [""])[0]
            lines += [_commented(field.description or ""), f"#{name.upper()}={value}"]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The text of docs/configuration.md."""
    lines = [PAGE_HEAD]
    for title, settings in sections():
        lines += [f"## {title}", "", "| setting | values | default | meaning |", "|---|---|---|---|"]
        for name, field in settings:
            cells = f"`{name.upper()}`", values_of(field), _shown_default(field), _linked(field.description or "")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines) + PAGE_FOOT


def _shown_default(field: FieldInfo) -> str:
    text = default_of(field)
    units = [
        f" ({field.default >> bits} {unit})"
        for unit, bits in UNITS
        if text.isdecimal() and field.default and not field.default % 2**bits
    ]
    return f"`{text}`{units[0] if units else ''}" if text else ""


def _linked(text: str) -> str:
    """The text on one line, with names of settings as code and names of pages as links."""
    names = "|".join(name.upper() for name in Settings.model_fields)
    named = re.sub(rf"\b({names})\b", r"`\1`", " ".join(text.splitlines()))
    return re.sub(r"docs/([\w-]+)\.md(#[\w-]+)?", r"[\1](\1.md\2)", named)


def _commented(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        for line in text.splitlines()
    )


FILES = {ROOT / ".env.example": example_file, ROOT / "docs" / "configuration.md": page}


def stale() -> list[Path]:
    """The files that do not say what the settings say."""
    return [path for path, text in FILES.items() if not path.is_file() or path.read_text(encoding="utf-8") != text()]


def main(arguments: list[str]) -> int:
    """Write the files, or name those that are out of date."""
    for path in stale():
        if arguments == ["--write"]:
            path.write_text(FILES[path](), encoding="utf-8")
        sys.stdout.write(f"{'written' if arguments else 'out of date'}: {path.relative_to(ROOT)}\n")
    return 1 if stale() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
