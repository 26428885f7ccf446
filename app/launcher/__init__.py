"""The launcher: makes the virtual environment, starts embedded PostgreSQL and Valkey, and keeps the service running.

`run_server.py` and `run_tests.py` import `venv.py`, and the modules that it imports, before any package is
installed: these use the standard library alone. Tests use `EmbeddedPostgres` and `EmbeddedValkey` too:

    with EmbeddedPostgres(tmp / "pg", durable=False) as database, EmbeddedValkey(tmp / "valkey") as broker:
        connect(database.url)    # postgresql://app:…@127.0.0.1:PORT/app
        connect(broker.url)      # redis://:…@127.0.0.1:PORT/0
"""
