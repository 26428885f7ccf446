"""Single breaks of the application, each of which a test must see: data in `*.toml`, run by `python -m tests.mutants`."""
