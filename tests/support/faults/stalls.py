"""A worker that goes on living and consumes nothing, as some reconnects have left it; loaded with TASK_MODULES.

Once the file that STALL_FILE names exists, Celery's own consumer is cancelled behind Celery's back.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import signals

MODULE = "tests.support.faults.stalls"
VARIABLE = "STALL_FILE"
NAP = 0.02


def _stall_later(sender: Any, **_: Any) -> None:
    def wait() -> None:
        while not Path(os.environ[VARIABLE]).exists():
            time.sleep(NAP)
        sender.hub.call_soon(lambda: print(f"stalled: {sender.task_consumer.cancel()}", flush=True))  # noqa: T201

    threading.Thread(target=wait, daemon=True).start()


if os.environ.get(VARIABLE):
    signals.worker_ready.connect(_stall_later, weak=False)
