"""Which databases DATABASE_URL may name, and by which driver each is used."""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs

POSTGRESQL, MYSQL, SQLITE = "postgresql", "mysql", "sqlite"
# That of Ubuntu 24.04. The statements need 3.43, which has octet_length().
OLDEST_SQLITE = (3, 45)
# MariaDB is used by the same dialect as MySQL, so that the one schema fits both.
_DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "postgres": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "sqlite": "sqlite",
}
# SQLAlchemy ignores others: https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#sqlalchemy-dialects-sqlite-pysqlite
_OF_SQLITE = frozenset({"cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout", "uri"})


def with_driver(url: str) -> str:
    """`url` as SQLAlchemy takes it: a plain `postgresql://` means psycopg2 here, a plain `mysql://` PyMySQL.

    Raises ValueError for a database that the service cannot use, where a driver is not installed or SQLite is too old.
    """
    scheme, separator, rest = url.partition("://")
    driver = _DRIVERS.get(scheme)
    if driver is None:
        raise ValueError("DATABASE_URL must be a postgresql://, mysql:// or sqlite:/// URL: no other database works")
    if driver == "mysql+pymysql" and find_spec("pymysql") is None:
        raise ValueError("the driver of MySQL and MariaDB is not installed: pip install 'task-service[mysql]'")
    if driver == SQLITE and not _names_a_file(rest):
        raise ValueError(
            "DATABASE_URL must name a file for SQLite by its absolute path, with four slashes: "
            "sqlite:////var/lib/task-service/tasks.db"
        )
    if driver == SQLITE and (strange := parse_qs(rest.partition("?")[2], keep_blank_values=True).keys() - _OF_SQLITE):
        raise ValueError(f"DATABASE_URL has an option that SQLite does not know: {min(strange)}")
    if driver == SQLITE and (fault := _sqlite_fault()):
        raise ValueError(fault)
    return f"{driver}{separator}{rest}"


def _names_a_file(rest: str) -> bool:
    """Return whether every process finds the same file, whatever its working directory: `:memory:` is none."""
    path = rest.removeprefix("/").partition("?")[0]
    return rest.startswith("/") and Path(path).is_absolute() and not path.endswith("/")


def _sqlite_fault() -> str:
    """Return what is wrong with the library that Python brings; "" if it is new enough."""
    import sqlite3

    if sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return ""
    oldest = ".".join(map(str, OLDEST_SQLITE))
    return f"SQLite {oldest} or newer is needed, not {sqlite3.sqlite_version}: another Python may bring a newer one"


def engine_of(url: str) -> str:
    """Return POSTGRESQL, MYSQL (also for MariaDB) or SQLITE, for a URL that `with_driver` has returned."""
    return url.partition("://")[0].partition("+")[0]
