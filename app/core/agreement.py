"""What all hosts of the service must have alike: a worker tells it at its start, `python -m app doctor` compares it.

Secrets are told as fingerprints, URLs without what stands before their host. The database needs no comparison: through
it each worker tells.
"""

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from app.core.config import Settings

KEY, BROKER, STORAGE = "SECRET_KEY", "CELERY_BROKER_URL", "STORAGE_URL"
# By how many seconds the database's clock was ahead of this machine's.
CLOCK = "clock"
# In a directory of STORAGE_URL: hosts that share the directory read the same, whatever their paths to it are.
MARK = ".directory-id"
UNMARKED = "file:"


def settings_to_agree(settings: Settings, *, mark: bool) -> dict[str, str]:
    """Return by name of the setting what other hosts must have alike. What is not set, or cannot be told, is left out.

    `mark`: write MARK into the directory of STORAGE_URL, if that is there and has none.
    """
    broker = settings.celery_broker_url
    found = {
        KEY: None if settings.secret_key is None else _fingerprint(settings.signing_key),
        BROKER: None if broker is None else _without_credentials(broker.get_secret_value()),
        STORAGE: _storage(settings.storage_url, mark=mark),
    }
    return {name: value for name, value in found.items() if value is not None}


def seconds_ahead(
    ask: Callable[[], datetime], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> tuple[float, float]:
    """Return by how many seconds the clock that `ask` reads is ahead of this machine's, and how far that may be off."""
    before = now()
    theirs = ask()
    after = now()
    return (theirs - (before + (after - before) / 2)).total_seconds(), (after - before).total_seconds() / 2


def _fingerprint(secret: str) -> str:
    return hmac.new(secret.encode(), b"agreement", hashlib.sha256).hexdigest()[:12]


def _without_credentials(urls: str) -> str:
    """Return scheme, host and path of each URL: kombu takes several, separated by semicolons."""
    parts = [urlsplit(url) for url in urls.split(";")]
    return ";".join(f"{each.scheme}://{each.netloc.rpartition('@')[2]}{each.path}" for each in parts)


def _storage(url: str, *, mark: bool) -> str | None:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return _without_credentials(url)
    path = Path(unquote(parts.path)).absolute() / MARK
    try:
        if mark and path.parent.is_dir():
            with suppress(FileExistsError), path.open("x", encoding="ascii") as made:
                made.write(uuid4().hex)
        return f"file:{path.read_text(encoding='ascii')}"
    except FileNotFoundError:
        return None if mark else UNMARKED
    except (OSError, UnicodeDecodeError):
        return None  # the check of the storage says why
