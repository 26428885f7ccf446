"""What a Celery worker runs beside Celery: attempts in the pool children, their supervision in the parent.

`bootsteps.py` builds the one object of each process; `parent` and `child` do not import each other.
"""
