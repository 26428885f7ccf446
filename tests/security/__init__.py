"""The checks of `security_test.py`, one module a group. Importing this package registers all of them, in order."""

# isort: off (the order of the report)
from tests.security import (  # noqa: F401 (imported for their registration)
    authentication,
    browser,
    changes,
    forwarding,
    functions,
    hygiene,
    injection,
    keys,
    memory,
    objects,
    pages,
    resources,
    tables,
)
