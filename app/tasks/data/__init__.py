"""The ground of the tasks on tables: reading, expressions, profiles and transformations of local files.

Pure functions: no database, no Celery, no HTTP. They use polars, the extra `data`. Modules of tasks import this package
inside functions, so that a process that runs none of these tasks does not load polars. `errors` alone loads nothing.
"""
