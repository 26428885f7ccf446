"""A task service on top of Celery. `docs/` says how it works; `README.md` how to start it."""
