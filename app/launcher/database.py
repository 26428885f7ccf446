"""The database of a run: that of DATABASE_URL, or else one in the data directory, of PostgreSQL or SQLite."""

from pathlib import Path
from urllib.parse import quote

from app.core.engines import MYSQL, POSTGRESQL, SQLITE, engine_of, with_driver
from app.launcher.errors import LauncherError

# What `--database` takes: the engines of which a data directory may hold a database.
OWN = (POSTGRESQL, SQLITE)
_NAMES = {POSTGRESQL: "PostgreSQL", MYSQL: "MySQL or MariaDB", SQLITE: "SQLite"}
_PLACES = {POSTGRESQL: Path("postgres", "data"), SQLITE: Path("tasks.db")}


def chosen_engine(url: str | None, asked: str | None, directory: Path) -> str:
    """The engine of the run: that of DATABASE_URL, or what `--database` asks for, or PostgreSQL.

    Raises LauncherError where these two, or `--database` and an earlier start, do not agree, and for a database that
    the service cannot use.
    """
    if url is None:
        return _own(asked or POSTGRESQL, directory)
    engine = _checked(url)
    if asked not in (None, engine):
        raise LauncherError(
            f"--database {asked} contradicts DATABASE_URL (environment or .env), which names a database of "
            f"{_NAMES[engine]}: leave one of them out"
        )
    return engine


def _own(engine: str, directory: Path) -> str:
    """Refuses to begin an empty database beside that of an earlier start, whose tasks would seem to be gone."""
    made = [each for each, place in _PLACES.items() if (directory / place).exists()]
    if made and engine not in made:
        raise LauncherError(
            f"an earlier start has made a database of {_NAMES[made[0]]} in {directory}: start with "
            f"--database {made[0]}, or name another directory with --data-dir"
        )
    return _checked(sqlite_url(directory)) if engine == SQLITE else engine


def _checked(url: str) -> str:
    try:
        return engine_of(with_driver(url))
    except ValueError as error:
        raise LauncherError(str(error)) from error


def sqlite_file(directory: Path) -> Path:
    """The path of SQLite's database in this data directory."""
    return directory / _PLACES[SQLITE]


def sqlite_url(directory: Path) -> str:
    """What DATABASE_URL is for this file."""
    return f"sqlite:///{quote(str(sqlite_file(directory)))}"


def make_sqlite_file(directory: Path) -> None:
    """Create the file unless it is there, readable by its owner alone.

    SQLite gives the files that it makes beside it the same mode.
    """
    path = sqlite_file(directory)
    path.touch(mode=0o600)
    path.chmod(0o600)
