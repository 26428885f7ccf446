"""What a beat process runs beside its schedule."""

import gc

from app.core.config import get_settings, warn_of_settings
from app.db.session import end_idle_transactions
from app.maintenance.loop import Maintenance
from app.messaging.hints import hint_sender


def start() -> None:
    """Start maintenance and the sending of hints, in threads that end with the process."""
    settings = get_settings()
    warn_of_settings(settings)
    end_idle_transactions()
    # What was imported stays: where this process leads, each full collection would hold maintenance up by 100 ms.
    gc.collect()
    gc.freeze()
    Maintenance(settings).start()
    hint_sender().start()
