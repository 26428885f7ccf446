"""The HTTP shell: parses requests, calls one service method, renders answers and problems. No SQL, no Celery."""
