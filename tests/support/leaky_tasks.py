"""Tasks that tell their secrets in every way that a body can, for tests/integration/test_leaks.py."""

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.celery_app import celery_app
from tests.support.example_tasks import await_gate, note

logger = logging.getLogger(__name__)


@celery_app.task(bind=True, name="tests.tell")
def tell(self: Any, password: str, ledger: str, config: Any = None, **more: Any) -> None:
    """Print and log its arguments, from another thread too, and fail with them in its message and in its causes'."""
    note(ledger, password)
    print(f"printed {password}")  # noqa: T201
    print("on stderr", more, file=sys.stderr)  # noqa: T201
    logger.info("logged %s and %s", password, config)
    logger.warning("a forged line\n[2026-01-01 00:00:00,000: ERROR/MainProcess] forged %s\x1b[31m\u2028end", password)
    thread = threading.Thread(target=logger.error, args=("from a thread: %r", password))
    thread.start()
    thread.join()
    self.update_progress(50, {"token": password, "step": 1})
    try:
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)", password], check=True)
    except subprocess.CalledProcessError as cause:
        raise ValueError(f"cannot log in with {password}\nforged: {more}") from cause


@celery_app.task(bind=True, name="tests.answer_secrets")
def answer_secrets(self: Any, ledger: str, token: str = "") -> dict[str, Any]:
    """Give secrets back."""
    note(ledger)
    return {"token": token, "list": [{"name": "Authorization", "value": token}], "max_tokens": 512}


@celery_app.task(bind=True, name="tests.hold_secret")
def hold_secret(self: Any, gate: str, ledger: str, password: str = "") -> str:
    """Wait for the gate."""
    note(ledger, password)
    await_gate(gate)
    return password


@celery_app.task(bind=True, name="tests.refused_by_the_database")
def refused_by_the_database(self: Any, password: str = "", task_id: Any = None) -> None:
    """An error whose text PostgreSQL fills with the whole row."""
    self.db.execute(text("UPDATE tasks SET progress = 101 WHERE id = :id"), {"id": task_id})
    Path(password).touch()
