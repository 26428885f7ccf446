"""What a beat process runs beside its schedule."""

from app.core.config import get_settings
from app.core.setting_warnings import warn_of_settings
from app.db.session import end_idle_transactions
from app.maintenance.loop import Maintenance
from app.messaging.hints import hint_sender


def start() -> None:
    """Start maintenance and the sending of hints, in threads that end with the process."""
    settings = get_settings()
    warn_of_settings(settings)
    end_idle_transactions()
    Maintenance(settings).start()
    hint_sender().start()
