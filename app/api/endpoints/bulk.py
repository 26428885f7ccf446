"""Endpoints of bulk operations: cancel, retry or delete many tasks, follow it, abort it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Request, Response, status

from app import errors
from app.api.deps import SessionDep, TaskReader, TaskWriter
from app.api.http.body_route import body_limit
from app.api.http.problems import Answers, problems, raises
from app.api.http.responses import rendered
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import filter_in_body
from app.models.auth import Scope
from app.models.bulk import BulkDeed, Deed
from app.schemas.bulk import MAX_TOKEN, BulkAccepted, BulkPreview, BulkRead, BulkRequest
from app.services.accounts.auth_service import Principal
from app.services.task_service import task_service

router = SlashRouter(prefix="/tasks/bulk", tags=["tasks"])

# A token, and a filter or 1,000 ids.
BODY_BYTES = 2 * MAX_TOKEN

DeedId = Annotated[
    UUID,
    Path(description="The operation's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"]),
    Answers(errors.BulkDeedNotFound),
]

_ACCEPTS: dict[str, Any] = {
    "status_code": status.HTTP_202_ACCEPTED,
    "response_model": BulkAccepted,
    "response_description": "The operation is committed and will be done",
    "responses": {
        200: {"model": BulkPreview, "description": "The dry run: nothing was changed"},
        202: {"headers": {"Location": {"description": "The URL of the operation", "schema": {"type": "string"}}}},
        **problems(
            401,
            errors.InsufficientScope,
            errors.AdminOnly,
            errors.InvalidSearch,
            errors.PreviewRequired,
            errors.TokenExpired,
            errors.TokenMismatch,
            errors.TooManyBulkDeeds,
        ),
    },
}


def _reads_many(arguments: dict[str, Any]) -> bool:
    return arguments["body"].ids is None


@router.post("/cancel", **_ACCEPTS)
@body_limit(lambda _: BODY_BYTES)
@costly(_reads_many)
def cancel_tasks(request: Request, db: SessionDep, user: TaskWriter, body: BulkRequest) -> Response:
    """Cancel many tasks, each as `POST /tasks/{task_id}/cancel` does.

    With `ids`, it is accepted at once. With `filter`, send `dry_run` first. The answer says how many tasks match, and
    has a token. Send the token to have it done to the tasks that match then. An API key without the scope `tasks:read`
    sees none of them. `GET /tasks/bulk/{deed_id}` says how far
    it is.
    """
    return _answer(request, db, user, Deed.CANCEL, body)


@router.post("/retry", **_ACCEPTS)
@body_limit(lambda _: BODY_BYTES)
@costly(_reads_many)
def retry_tasks(request: Request, db: SessionDep, user: TaskWriter, body: BulkRequest) -> Response:
    """Run many failed or revoked tasks again, each as `POST /tasks/{task_id}/retry` without a body does.

    Each counts in the quotas of its owner; what exceeds one is skipped. For the rest see `POST /tasks/bulk/cancel`.
    """
    return _answer(request, db, user, Deed.RETRY, body)


@router.post("/delete", **_ACCEPTS)
@body_limit(lambda _: BODY_BYTES)
@costly(_reads_many)
def delete_tasks(request: Request, db: SessionDep, user: TaskWriter, body: BulkRequest) -> Response:
    """Delete many tasks that have ended, each as `DELETE /tasks/{task_id}` does. Pending and running ones are skipped.

    For the rest see `POST /tasks/bulk/cancel`.
    """
    return _answer(request, db, user, Deed.DELETE, body)


def _answer(request: Request, db: SessionDep, user: Principal, deed: Deed, body: BulkRequest) -> Response:
    wanted = None if body.filter is None else filter_in_body(user, body.filter)
    if body.dry_run:
        preview = task_service.preview_bulk(
            db, deed, user_id=user.id, as_admin=user.is_admin, ids=body.ids, wanted=wanted,
            with_sample=Scope.TASKS_READ in user.scopes,
        )  # fmt: skip
        return rendered(BulkPreview.model_validate(preview))
    if wanted is not None and body.token is None:
        raise errors.PreviewRequired
    accepted = task_service.start_bulk(
        db, deed, user_id=user.id, as_admin=user.is_admin, ids=body.ids, wanted=wanted, token=body.token,
        within_quota=True, rights=user.rights,
    )  # fmt: skip
    location = f"{request.scope['path'].rpartition('/')[0]}/{accepted.id}"
    return rendered(BulkAccepted.model_validate(accepted), status.HTTP_202_ACCEPTED, {"Location": location})


@router.get("/{deed_id}", response_model=BulkRead, response_description="The operation")
def get_bulk_operation(db: SessionDep, user: TaskReader, deed_id: DeedId) -> BulkDeed:
    """Say how far a bulk operation is. It is forgotten a week after its end."""
    return task_service.get_bulk(db, deed_id, owner=user.owner)


@router.post("/{deed_id}/abort", response_model=BulkRead, response_description="The operation is aborted")
@raises(errors.BulkDeedOver)
def abort_bulk_operation(db: SessionDep, user: TaskWriter, deed_id: DeedId) -> BulkDeed:
    """Abort a bulk operation. What is done stays done, and nothing more is done from the answer on."""
    return task_service.abort_bulk(db, deed_id, owner=user.owner)
