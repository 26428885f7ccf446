"""Makes schedules of the entries of `beat_schedule`, each once: `python -m app import-beat-schedule`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.beat.entries import CannotCarryOver, Source, convert
from app.db.session import transaction
from app.db.statements import workers
from app.errors import InvalidInput, ServiceError
from app.models.schedule import Schedule
from app.models.user import User
from app.schedules.words import in_words
from app.schemas.schedule import ScheduleCreate
from app.services.accounts.rights import Rights
from app.services.operations.live_workers import lease
from app.services.schedule_service import schedule_service
from app.services.schedules import changing, requests
from app.services.schedules.listing import ScheduleFilter
from app.services.schedules.timing import now_of, timing_of
from app.services.tasks.permissions import check_may_create

# A schedule that was made of an entry has this tag, and the entry's name in its metadata.
TAG, ENTRY = "beat", "beat_entry"
_PAGE = 200


class Outcome(StrEnum):
    """What becomes of an entry."""

    CREATE = "create"
    EXISTS = "exists"
    LEAVE = "leave"


@dataclass(frozen=True)
class Line:
    """An entry and what becomes of it.

    told      its times and task in words, the schedule that it has, or why it is left with beat
    left_out  what of it the schedule does not have
    is_known  whether a worker knows its task; True while none runs
    """

    entry: str
    outcome: Outcome
    told: str
    left_out: list[str] = field(default_factory=list)
    is_known: bool = True


def import_entries(
    db: Session, user_id: UUID, sources: Iterable[Source], *, apply: bool, paused: bool = False
) -> list[Line]:
    """Return what becomes of each entry, and with `apply` make the schedules: all, or none where one raises an error.

    Entries that have one already, whatever was changed about it, make no second one. An entry that cannot be carried
    over is left. Raises TooManySchedules.
    """
    with transaction(db):
        # Two imports at a time would each find none of the other's.
        found = select(User.id, User.role, User.max_priority).where(User.id == user_id).with_for_update()
        owner = db.execute(found).one()
        imported = {str(schedule.metadata_.get(ENTRY)): schedule for schedule in _imported(db, user_id)}
        now = now_of(db)
        served = [worker.task_names for worker in workers.live(db, lease())]
        seen: set[str] = set()
        lines: list[Line] = []
        for source in sources:
            for name, entry in source.entries.items():
                wanted = None
                if name in seen:
                    line = Line(name, Outcome.LEAVE, "another beat_schedule has an entry of this name too: rename one")
                elif name in imported:
                    line = Line(name, Outcome.EXISTS, f"has {_state(imported[name])} schedule {imported[name].id}")
                else:
                    line, wanted = _planned(name, entry, source.timezone, owner, now)
                    line = replace(line, is_known=wanted is None or _is_known(wanted.task.celery_task_name, served))
                seen.add(name)
                lines.append(line)
                if wanted is not None and apply:
                    wanted.paused = paused
                    schedule_service.accept(db, wanted, user_id, rights=_rights(owner), commit=False)
    return lines


def _imported(db: Session, user_id: UUID) -> Iterator[Schedule]:
    before = None
    while True:
        found = schedule_service.list_schedules(db, ScheduleFilter(user_id=user_id, tag=TAG), _PAGE, before=before)
        yield from found.items
        before = found.last
        if before is None:
            return


def _state(schedule: Schedule) -> str:
    if schedule.paused:
        return "the paused"
    return "the ended" if schedule.next_run_at is None else "the active"


def _is_known(name: str, served: Sequence[Iterable[str] | None]) -> bool:
    """Whether a worker that runs knows the task; of one that does not tell, and where none runs, nobody can say."""
    return not served or any(names is None or name in names for names in served)


def _rights(owner: Any) -> Rights:
    return Rights(owner.id, owner.role, owner.max_priority)


def _planned(name: str, entry: Any, timezone: str, owner: Any, now: Any) -> tuple[Line, ScheduleCreate | None]:
    """Return what becomes of the entry, and the schedule that it is; checked as when one is made."""
    try:
        converted = convert(name, entry, timezone)
        fields = converted.fields | {"tags": [TAG], "metadata": {ENTRY: name}}
        wanted: ScheduleCreate = changing.parse(ScheduleCreate, fields)
        schedule = changing.new_schedule(wanted, owner.id, now)
        requests.check_request(schedule.task, owner.id, schedule.id, now)
        check_may_create([wanted.task], _rights(owner))
    except CannotCarryOver as error:
        return Line(name, Outcome.LEAVE, str(error)), None
    except InvalidInput as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in error.errors)
        return Line(name, Outcome.LEAVE, told or error.detail), None
    except ServiceError as error:
        return Line(name, Outcome.LEAVE, error.detail), None
    words = f"{in_words(timing_of(schedule), 'en')}: {schedule.celery_task_name}"
    return Line(name, Outcome.CREATE, words, converted.left_out), wanted
