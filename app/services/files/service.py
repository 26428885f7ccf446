"""Files that users upload, and artifacts of tasks: read, listed, deleted. `docs/files.md` says what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.page import Page
from app.db.session import transaction
from app.db.statements import files
from app.db.statements.reads import find_owned
from app.db.transactions import retries_deadlocks
from app.errors import ArtifactNotFound, FileInUse, FileNotFound
from app.models.stored_file import FileEvent, StoredFile
from app.services import audit
from app.services.audit import Subject
from app.services.files.contents import Measure
from app.services.task_service import task_service
from app.services.tasks.quotas import Load, Reservation, quotas


@dataclass
class StartedFile:
    """A file whose bytes come, with the quota that is reserved for `reserved` of them."""

    id: UUID
    user_id: UUID
    reservations: list[Reservation]
    reserved: int

    def add(self, reservation: Reservation) -> None:
        """Note quota that is reserved for more bytes."""
        self.reservations[-1:] = self.reservations[-1].joined(reservation)
        self.reserved += reservation.wanted.stored


class FileService:
    """The calls of the endpoints. `owner`: only what this user owns; None for administrators."""

    def begin(self, db: Session, user_id: UUID, name: str, content_type: str, bytes_: int | None) -> StartedFile:
        """Note that a file of about so many bytes comes, None for unknown. End it with `finish` or `give_up`.

        Raises TooManyBytesStored.
        """
        reservation = quotas.reserve(db, user_id, Load(0, 0, bytes_ or 0))
        started = StartedFile(new_id(), user_id, [reservation], bytes_ or 0)
        try:
            with transaction(db):
                files.begin_file(db, started.id, user_id, name, content_type)
        except BaseException:
            reservation.end(committed=False)
            raise
        return started

    def reserve_known(self, started: StartedFile, size: int) -> bool:
        """Reserve quota for so many bytes of it by what is known. Returns False where `reserve_up_to` has to look."""
        more = Load(0, 0, max(0, size - started.reserved))
        reservation = quotas.reserve_known(started.user_id, more) if more.stored else None
        if reservation is not None:
            started.add(reservation)
        return size <= started.reserved

    def reserve_up_to(self, db: Session, started: StartedFile, size: int) -> None:
        """Reserve quota for so many bytes of it, and for none that have not come. Raises TooManyBytesStored."""
        if size > started.reserved:
            started.add(quotas.reserve(db, started.user_id, Load(0, 0, size - started.reserved)))

    def touch(self, db: Session, file_id: UUID) -> bool:
        """Say that its bytes still come, each minute at least. Returns False if that is too late."""
        with transaction(db):
            return files.touch(db, file_id)

    def finish(self, db: Session, started: StartedFile, content: Measure) -> StoredFile:
        """Note that the bytes of a file, for which quota is reserved, are there. Raises FileNotFound if too late."""
        days = timedelta(days=get_settings().file_retention_days)
        with transaction(db):
            if not files.finish_file(db, started.id, content.size, content.sha256, days):
                raise FileNotFound
            found = self.get_file(db, started.id)  # not there once its user is deleted
        for each in started.reservations:
            each.end(committed=True)
        return found

    def give_up(self, db: Session, started: StartedFile) -> None:
        """Have nothing kept of a file whose bytes did not all come."""
        for each in started.reservations:
            each.end(committed=False)
        with transaction(db):
            files.drop(db, StoredFile.id == started.id)

    def list_files(
        self, db: Session, limit: int, *, owner: UUID | None = None, before: UUID | None = None
    ) -> Page[StoredFile, UUID]:  # fmt: skip
        """Return files, the newest first, without artifacts."""
        return files.page_of_files(db, owner, limit, before)

    def get_file(self, db: Session, file_id: UUID, *, owner: UUID | None = None) -> StoredFile:
        """Return a file, or an artifact. Raises FileNotFound."""
        return find_owned(db, StoredFile, file_id, owner, FileNotFound, files.IS_VISIBLE)

    @retries_deadlocks
    def delete_file(self, db: Session, file_id: UUID, *, owner: UUID | None = None, commit: bool = True) -> None:
        """Delete a file. Raises FileNotFound, also for an artifact, which goes with its task; FileInUse."""
        with transaction(db, commit=commit):
            file = files.lock(db, file_id, owner)
            if file is None:
                raise FileNotFound
            if files.is_named(db, file_id):
                raise FileInUse
            files.drop(db, StoredFile.id == file_id)
            about = Subject("file", str(file_id))
            audit.record(db, FileEvent.DELETED, about, owner=str(file.user_id), name=file.name)

    def list_artifacts(self, db: Session, task_id: UUID, *, owner: UUID | None = None) -> Sequence[StoredFile]:
        """Return the artifacts of a task that are to be seen, by name. Raises TaskNotFound."""
        task_service.get_task(db, task_id, owner=owner)
        return files.artifacts(db, task_id)

    def get_artifact(self, db: Session, task_id: UUID, name: str, *, owner: UUID | None = None) -> StoredFile:
        """Return an artifact of a task. Raises TaskNotFound, ArtifactNotFound."""
        task_service.get_task(db, task_id, owner=owner)
        found = files.artifacts(db, task_id, StoredFile.name == name)
        if not found:
            raise ArtifactNotFound
        return found[0]


file_service = FileService()
