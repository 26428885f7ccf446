"""The modules of tasks: those that cannot be imported, and what tasks need that is not there."""

from collections import defaultdict
from collections.abc import Container, Iterator

from app.catalogue import EXTRAS, read_tasks
from app.core.config import ConfigurationError, Settings
from app.doctor.findings import Finding, fail, ok, say, warn
from app.messaging.loader import check_task_modules
from app.services.execution.claims import check_queue_shares


def check_tasks(settings: Settings) -> Iterator[Finding]:
    """Import all modules."""
    try:
        check_task_modules(settings)
        found, findings = read_tasks()
        check_queue_shares(settings.queue_shares)
    except ConfigurationError as error:
        yield fail(say("{}", str(error).removeprefix("configuration: ")), say("correct the setting"))
        return
    for finding in findings:
        yield fail(say("{}: {}", finding.what, finding.reason), say("correct {}", finding.place))
    missing = {name: kind.missing_settings(settings) for name, kind in found.items()}
    yield ok(say("{} tasks can be created", sum(not each for each in missing.values())))
    if unset := sorted({each for names in missing.values() for each in names}):
        number = sum(bool(each) for each in missing.values())
        yield ok(say("{} more can be created once these are set: {}", number, ", ".join(unset)))
    yield from extras(found)


def extras(found: Container[str]) -> Iterator[Finding]:
    """Yield each extra without whose packages tasks are left out of the catalogue."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for name, extra in EXTRAS.items():
        if name not in found:
            left_out[extra].append(name)
    for extra, names in left_out.items():
        yield warn(
            say("tasks are left out, as their packages are not installed: {}", ", ".join(names)),
            say("pip install 'task-service[{}]'", extra),
        )
