"""All checks, in the order in which they run: what others rest on comes first."""

from collections.abc import Callable, Iterator
from functools import partial

from app.core.config import ConfigurationError, Settings
from app.core.logging import hide_secrets
from app.doctor import broker, database, installation, workers
from app.doctor.findings import Check, Result, run_checks, say

DATABASE, SERVER, MIGRATIONS, BROKER = "database", "database version", "migrations", "broker"
# The modules of tasks may import large packages.
IMPORT_SECONDS = 60.0


def examine(load: Callable[[], Settings]) -> Iterator[Result]:
    """Run all checks. `load` gives the settings or raises ConfigurationError; then only the versions are checked."""
    yield from run_checks(
        [Check(say("Python"), installation.check_python), Check(say("packages"), installation.check_packages)]
    )
    try:
        settings = load()
    except ConfigurationError as error:
        yield say("configuration"), list(installation.refused_settings(error))
        return
    hide_secrets(settings)
    yield from run_checks(checks_of(settings))


def checks_of(settings: Settings) -> list[Check]:
    """Return the checks that need settings."""
    migrated = (DATABASE, SERVER, MIGRATIONS)
    return [
        Check(say("configuration"), partial(installation.check_settings, settings)),
        Check(say("database"), database.check_reachable),
        Check(say("database version"), database.check_version, needs=(DATABASE,)),
        Check(say("migrations"), database.check_migrations, needs=(DATABASE, SERVER)),
        Check(say("database privileges"), database.check_privileges, needs=migrated),
        Check(say("database clock"), database.check_clock, needs=(DATABASE,)),
        Check(say("broker"), partial(broker.check_reachable, settings)),
        Check(say("broker version"), partial(broker.check_version, settings), needs=(BROKER,)),
        Check(say("broker settings"), partial(broker.check_durability, settings), needs=(BROKER,)),
        Check(say("broker clock"), partial(broker.check_clock, settings), needs=(BROKER,)),
        Check(say("task modules"), partial(installation.check_tasks, settings), seconds=IMPORT_SECONDS),
        Check(say("workers"), workers.check_workers, needs=migrated),
        Check(say("queues"), workers.check_queues, needs=migrated),
        Check(say("maintenance"), partial(workers.check_maintenance, settings), needs=migrated),
        Check(say("beat"), workers.check_beat, needs=migrated),
        Check(say("storage"), partial(installation.check_storage, settings)),
        Check(say("disk space"), partial(installation.check_disks, settings)),
    ]
