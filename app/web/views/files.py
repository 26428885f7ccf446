"""Files: the list, an upload, a download, and what is asked before a deletion; and the artifacts of a task."""

from uuid import UUID

from fastapi import Request, Response

from app.api.deps import SessionDep, SettingsDep
from app.api.http.contents import bytes_response, content_response, in_session
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.api.http.uploads import receive_file
from app.errors import ArtifactNotFound
from app.services.files.service import file_service
from app.web.access import PageUser
from app.web.forms import Confirmed, ask_to_confirm, names_of_owners, next_page
from app.web.responses import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/files", "Files"),)

ROWS = 50
# What an <img> shows. A picture may hold scripts: it is shown by itself in a sandbox, and loads nothing.
PICTURES = ("image/svg+xml", "image/png")
SANDBOX = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}


@router.get("/files")
def list_files(request: Request, db: SessionDep, user: PageUser, cursor: Cursor = None) -> Response:
    """List files, the newest first; administrators see those of all users."""
    found = file_service.list_files(db, ROWS, owner=user.owner, cursor=cursor)
    values = {
        "rows": found.items,
        "owners": names_of_owners(db, user, (each.user_id for each in found.items)),
        "next_page": next_page(found, "/files"),
    }
    return page(request, "files.html", values)


@router.post("/files")
async def upload_file(request: Request, user: PageUser, settings: SettingsDep) -> Response:
    await receive_file(request, user.id, settings.max_file_bytes)
    return redirect(request, "/files", "file_uploaded")


@router.get("/files/{file_id}/content")
async def download_file(request: Request, user: PageUser, file_id: UUID) -> Response:
    return await content_response(request, await in_session(file_service.get_file, file_id, owner=user.owner))


@router.post("/files/{file_id}/delete")
def delete_file(
    request: Request, db: SessionDep, user: PageUser, file_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return ask_to_confirm(
            request, "delete_file", file_service.get_file(db, file_id, owner=user.owner).name, "/files"
        )
    file_service.delete_file(db, file_id, owner=user.owner)
    return redirect(request, "/files", "file_deleted")


@router.get("/tasks/{task_id}/artifacts/{name}")
async def download_artifact(request: Request, user: PageUser, task_id: UUID, name: str) -> Response:
    found = await in_session(file_service.get_artifact, task_id, name, owner=user.owner)
    return await content_response(request, found)


@router.get("/tasks/{task_id}/pictures/{name}")
async def show_picture(user: PageUser, task_id: UUID, name: str) -> Response:
    """Show an artifact that is a picture. Raises ArtifactNotFound for any other one."""
    found = await in_session(file_service.get_artifact, task_id, name, owner=user.owner)
    if found.content_type not in PICTURES:
        raise ArtifactNotFound
    return await bytes_response(found, SANDBOX, 0, found.size)
