"""What a Celery worker runs beside Celery: the attempt in the pool child, heartbeat and losses in the parent."""
