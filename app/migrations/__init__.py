"""Alembic's scripts; `python -m app migrate` runs them, and `alembic` in a checkout."""
