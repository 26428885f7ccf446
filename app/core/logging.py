"""The one place that configures logging: a line says which request it belongs to."""

import logging
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")

_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


class _RequestId(logging.Filter):
    """Adds the request id to records of every logger, third parties' included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def configure_logging() -> None:
    """Log to stderr unless whoever started the process has set up logging already (pytest, a WSGI host, Celery)."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(_RequestId())
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # /readyz asks Alembic for the head; that it has plugins is no news.
    logging.getLogger("alembic").setLevel(logging.WARNING)
