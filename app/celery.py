"""`celery -A app`: Celery looks for this module in a package. The application is made in `app.celery_app`."""

from app.celery_app import celery_app as app

__all__ = ["app"]
