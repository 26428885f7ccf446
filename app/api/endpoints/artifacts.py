"""Endpoints of the artifacts of a task: what its body has saved."""

from typing import Annotated

from fastapi import Path, Request, Response

from app.api.deps import SessionDep, TaskReader
from app.api.endpoints.tasks import TaskId
from app.api.http.contents import BYTES, content_response, in_session
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import (
    ArtifactNotFound,
    ContentMissing,
    InsufficientScope,
    RangeNotSatisfiable,
    StorageUnavailable,
    TaskNotFound,
)
from app.models.stored_file import StoredFile
from app.schemas.stored_file import ArtifactRead
from app.services.file_service import file_service

router = SlashRouter(prefix="/tasks", tags=["files"])
ArtifactName = Annotated[str, Path(description="The name of the artifact.", max_length=200, examples=["report.html"])]


@router.get(
    "/{task_id}/artifacts",
    response_model=list[ArtifactRead],
    response_description="The artifacts, by name",
    responses=problems(401, InsufficientScope, TaskNotFound),
)
def list_artifacts(db: SessionDep, user: TaskReader, task_id: TaskId) -> list[StoredFile]:
    """List what the body of a task has saved by `self.save_artifact`: once its attempt has succeeded.

    What was saved with `partial=True` is listed at once. An artifact's id is good wherever a file's is read.
    """
    return list(file_service.list_artifacts(db, task_id, owner=user.owner))


@router.get(
    "/{task_id}/artifacts/{name}",
    response_class=Response,
    responses={
        **BYTES,
        **problems(401, InsufficientScope, TaskNotFound, ArtifactNotFound, RangeNotSatisfiable),
        **problems(StorageUnavailable, ContentMissing),
    },
)
async def download_artifact(request: Request, user: TaskReader, task_id: TaskId, name: ArtifactName) -> Response:
    """Return the bytes of an artifact, always as an attachment. Ranges and entity tags are as of a file."""
    found = await in_session(file_service.get_artifact, task_id, name, owner=user.owner)
    return await content_response(request, found)
