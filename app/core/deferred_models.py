"""Models of pydantic whose validators are built at their first use, in modules that do not say so themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel


@contextmanager
def deferred_models() -> Iterator[None]:
    """Have each model that is declared within build its validator at its first use: for imports of other packages."""
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
