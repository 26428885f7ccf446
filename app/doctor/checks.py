"""All checks, in the order in which they run: what others rest on comes first."""

from collections.abc import Callable, Iterator
from functools import partial

from app.core.config import ConfigurationError, Settings
from app.core.logging import hide_secrets
from app.doctor import broker, database, hosts, installation, workers
from app.doctor.findings import Check, Result, run_checks
from app.errors import Text

DATABASE, SERVER, MIGRATIONS, BROKER = "database", "database version", "migrations", "broker"
# The modules of tasks may import large packages.
IMPORT_SECONDS = 60.0


def examine(load: Callable[[], Settings]) -> Iterator[Result]:
    """Run all checks. `load` gives the settings or raises ConfigurationError; then only the versions are checked."""
    yield from run_checks(
        [Check(Text("Python"), installation.check_python), Check(Text("packages"), installation.check_packages)]
    )
    try:
        settings = load()
    except ConfigurationError as error:
        yield Text("configuration"), list(installation.refused_settings(error))
        return
    hide_secrets(settings)
    yield from run_checks(checks_of(settings))


def checks_of(settings: Settings) -> list[Check]:
    """Return the checks that need settings."""
    migrated = (DATABASE, SERVER, MIGRATIONS)
    return [
        Check(Text("configuration"), partial(installation.check_settings, settings)),
        Check(Text("database"), database.check_reachable),
        Check(Text("database version"), database.check_version, needs=(DATABASE,)),
        Check(Text("migrations"), database.check_migrations, needs=(DATABASE, SERVER)),
        Check(Text("database privileges"), database.check_privileges, needs=migrated),
        Check(Text("database clock"), database.check_clock, needs=(DATABASE,)),
        Check(Text("broker"), partial(broker.check_reachable, settings)),
        Check(Text("broker version"), partial(broker.check_version, settings), needs=(BROKER,)),
        Check(Text("broker settings"), partial(broker.check_durability, settings), needs=(BROKER,)),
        Check(Text("broker clock"), partial(broker.check_clock, settings), needs=(BROKER,)),
        Check(Text("task modules"), partial(installation.check_tasks, settings), seconds=IMPORT_SECONDS),
        Check(Text("workers"), workers.check_workers, needs=migrated),
        Check(Text("other hosts"), partial(hosts.check_hosts, settings), needs=migrated),
        Check(Text("queues"), workers.check_queues, needs=migrated),
        Check(Text("maintenance"), partial(workers.check_maintenance, settings), needs=migrated),
        Check(Text("beat"), workers.check_beat, needs=migrated),
        Check(Text("storage"), partial(installation.check_storage, settings)),
        Check(Text("disk space"), partial(installation.check_disks, settings)),
    ]
