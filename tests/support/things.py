"""An object of one user for each path of the pages, and what their forms must hold."""

import re
from typing import Any
from uuid import UUID

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.models.stored_file import FileState, StoredFile
from app.models.task import TaskStatus
from app.services.tasks import task_counts
from app.storage import key_of, storage
from tests.support.accounts import bearer, login
from tests.support.settings import sql
from tests.support.task_client import BODY
from tests.support.tasks import LONG_RUNNING, task_in
from tests.support.ways import Caller

# What a form of a page must hold to be read at all.
FORMS = {
    "/errors/{fingerprint}/ignore": {"until": "2099-01-01T00:00:00Z"},
    "/schedules/{schedule_id}/backfill": {"begin": "2021-01-01", "end": "2021-01-02"},
    "/tasks/{task_id}/change": {"celery_task_name": LONG_RUNNING},
    "/schedules/{schedule_id}/change": {"celery_task_name": LONG_RUNNING},
}


class Things:
    """Objects of one caller, a new one for each path."""

    def __init__(self, caller: Caller) -> None:
        self._caller, self._id = caller, UUID(caller.user["id"])

    def path(self, template: str) -> str:
        """The path with ids in it."""
        self._template, self._task = template, ""
        return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: getattr(self, found[1])(), template)

    def task_id(self) -> str:
        make = self._caller.ended if self._template.endswith(("/retry", "/delete", "/change")) else self._caller.pending
        self._task = make(BODY)
        return self._task

    def name(self) -> str:
        """An artifact of the task before it; of anything else a name."""
        if self._task:
            self._file("image.png", "image/png", user_id=self._id, task_id=UUID(self._task), attempt=1)
        return "theme" if self._template.startswith("/choices") else "image.png"

    def file_id(self) -> str:
        return str(self._file("a.csv", "text/csv", user_id=self._id))

    def schedule_id(self) -> str:
        return self._caller.schedule(BODY)

    def workflow_id(self) -> str:
        is_to_wait = self._template.endswith("/cancel")
        return self._caller.waiting_workflow(BODY) if is_to_wait else self._caller.workflow(BODY)

    def deed_id(self) -> str:
        sql("DELETE FROM bulk_deeds")
        return str(self._caller.asked("/tasks/bulk/cancel", {"ids": [str(new_id())]})["id"])

    def endpoint_id(self) -> str:
        sql("DELETE FROM webhook_endpoints")
        body = {"url": "https://example.com/", "events": ["task.failed"]}
        return str(self._caller.asked("/webhooks/", body)["id"])

    def delivery_id(self) -> str:
        return str(self._caller.asked(f"/webhooks/{self.endpoint_id()}/test")["id"])

    def key_id(self) -> str:
        return str(self._caller.asked("/auth/api-keys", {"name": "k", "scopes": ["tasks:read"]})["id"])

    def session_id(self) -> str:
        login(self._caller.http, self._caller.user["username"])
        logins = self._caller.http.get("/api/v1/auth/sessions", headers=bearer(self._caller.token)).json()
        return str(next(each["id"] for each in logins if not each["current"]))

    def fingerprint(self) -> str:
        with SessionLocal() as db:
            found = task_in(db, TaskStatus.FAILED, self._id).error_fingerprint
            task_counts.fold(db)
        return str(found)

    def deed(self) -> str:
        return "cancel"

    def user_id(self) -> str:
        return self._caller.user["id"]

    def _file(self, name: str, content_type: str, **of: Any) -> UUID:
        row = {"name": name, "content_type": content_type, "sha256": "00", "size": 1, "state": FileState.KEPT.value}
        with SessionLocal.begin() as db:
            made = StoredFile(id=new_id(), **row, **of)
            storage().write(key_of(made.id), [b"x"])
            db.add(made)
        return made.id
