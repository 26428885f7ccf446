"""The launcher: a virtual environment, embedded PostgreSQL and Valkey, and the parts of the service, kept running.

`venv.py` and `errors.py` use the standard library alone: `run_server.py` and `run_tests.py` import them before any
package is installed. `postgres.EmbeddedPostgres` and `valkey.EmbeddedValkey` serve tests as well as the command:

    with EmbeddedPostgres(tmp / "pg", durable=False) as database, EmbeddedValkey(tmp / "valkey") as broker:
        connect(database.url)    # postgresql://app:…@127.0.0.1:PORT/app
        connect(broker.url)      # redis://:…@127.0.0.1:PORT/0
"""
