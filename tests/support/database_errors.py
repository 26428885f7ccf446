"""Errors as a database answers them, without a database."""

import psycopg2
from sqlalchemy.exc import DBAPIError, OperationalError


def said(kind: type[psycopg2.Error], state: str) -> DBAPIError:
    """An error that the server answered, with its SQLSTATE."""
    error = kind("said the server")
    error.__setstate__({"pgcode": state})
    return OperationalError("SELECT 1", {}, error)
