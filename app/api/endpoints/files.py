"""Endpoints of files (upload, list, read, download, delete) and of artifacts, which bodies of tasks have saved."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response, status

from app import errors
from app.api.deps import SessionDep, SettingsDep, TaskReader, TaskWriter
from app.api.endpoints.tasks import TaskId
from app.api.http.contents import BYTES, content_response, in_session
from app.api.http.problems import Answers, raises
from app.api.http.responses import Cursor, Limit, ListRenderer, created, rendered
from app.api.http.router import SlashRouter
from app.api.http.uploads import receive_file
from app.models.stored_file import StoredFile
from app.schemas.stored_file import ArtifactRead, FileRead
from app.services.files.service import FILES, file_service

router = SlashRouter(tags=["files"])
TAG_DESCRIPTION = "Files for tasks to read, and the artifacts that tasks save."

FileId = Annotated[
    UUID,
    Path(description="The id of a file, or of an artifact.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d14"]),
    Answers(errors.FileNotFound),
]

_FILES = ListRenderer(FileRead, FILES)
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "The file.",
                        "examples": ["a,b\n1,2\n"],
                    }
                },
            }
        }
    },
}


@router.post(
    "/files/",
    status_code=status.HTTP_201_CREATED,
    response_model=FileRead,
    response_description="The file is kept",
    responses={201: {"headers": {"Location": {"description": "The URL of the file", "schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": _FORM},
)
@raises(errors.InvalidUpload, errors.TooManyBytesStored, errors.StorageUnavailable, errors.StorageFull)
async def upload_file(request: Request, user: TaskWriter, settings: SettingsDep) -> Response:
    """Upload one file as `multipart/form-data`, field `file`: `curl -F file=@data.csv`.

    It has at most MAX_FILE_BYTES. A `Content-Digest` (RFC 9530, sha-256) is compared. In the header of the part it is
    that of the file, in the request that of the whole body. Its id is an argument of tasks that read files. It is
    deleted after FILE_RETENTION_DAYS, but not while a pending task or a schedule names it.
    """
    made = await receive_file(request, user.id, settings.max_file_bytes)
    return created(request, FileRead.model_validate(made))


@router.get("/files/", response_model=list[FileRead], response_description="Files, the newest first")
def list_files(
    request: Request, db: SessionDep, user: TaskReader, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List your files, the newest first; administrators those of all users. Artifacts are listed by their task."""
    page = file_service.list_files(db, limit, owner=user.owner, cursor=cursor)
    return _FILES.page(request, page)


@router.get("/files/{file_id}", response_model=FileRead, response_description="The file")
def get_file(db: SessionDep, user: TaskReader, file_id: FileId) -> Response:
    """Return what is known of a file, or of an artifact."""
    return rendered(FileRead.model_validate(file_service.get_file(db, file_id, owner=user.owner)))


@router.delete("/files/{file_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The file is deleted")
@raises(errors.FileInUse)
def delete_file(db: SessionDep, user: TaskWriter, file_id: FileId) -> Response:
    """Delete a file. 409 while a pending or running task or a schedule names it. An artifact goes with its task."""
    file_service.delete_file(db, file_id, owner=user.owner)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/files/{file_id}/content", response_class=Response, responses={**BYTES})
@raises(errors.RangeNotSatisfiable, errors.StorageUnavailable, errors.ContentMissing)
async def download_file(request: Request, user: TaskReader, file_id: FileId) -> Response:
    """Return the bytes of a file, or of an artifact, always as an attachment.

    `Range` takes one range of bytes, `If-Range` and `If-None-Match` the `ETag`.
    """
    found = await in_session(file_service.get_file, file_id, owner=user.owner)
    return await content_response(request, found)


# -- Endpoints of the artifacts of a task: what its body has saved -----------------------------------------------------

ArtifactName = Annotated[
    str,
    Path(description="The name of the artifact.", max_length=200, examples=["report.html"]),
    Answers(errors.ArtifactNotFound),
]


@router.get(
    "/tasks/{task_id}/artifacts", response_model=list[ArtifactRead], response_description="The artifacts, by name"
)
def list_artifacts(db: SessionDep, user: TaskReader, task_id: TaskId) -> list[StoredFile]:
    """List what the body of a task has saved by `self.save_artifact`: once its attempt has succeeded.

    What was saved with `partial=True` is listed at once. An artifact's id is good wherever a file's is read.
    """
    return list(file_service.list_artifacts(db, task_id, owner=user.owner))


@router.get("/tasks/{task_id}/artifacts/{name}", response_class=Response, responses={**BYTES})
@raises(errors.RangeNotSatisfiable, errors.StorageUnavailable, errors.ContentMissing)
async def download_artifact(request: Request, user: TaskReader, task_id: TaskId, name: ArtifactName) -> Response:
    """Return the bytes of an artifact, always as an attachment. Ranges and entity tags are as of a file."""
    found = await in_session(file_service.get_artifact, task_id, name, owner=user.owner)
    return await content_response(request, found)
