"""The endpoint of the secret that signs what goes to the `webhook_url` of tasks."""

from app.api.deps import LoginUser, SessionDep
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import LoginOnly, WebhooksOff
from app.schemas.webhook import WebhookSecret
from app.services.webhook_service import webhook_service

router = SlashRouter(prefix="/users", tags=["users"])


@router.get(
    "/me/webhook-secret",
    response_model=WebhookSecret,
    response_description="Your secret",
    responses=problems(401, LoginOnly, WebhooksOff),
)
def get_webhook_secret(db: SessionDep, user: LoginUser) -> WebhookSecret:
    """Get the secret that signs `send_webhook` and the `webhook_url` of your tasks (Standard Webhooks 1.0).

    It changes only when the operator changes `WEBHOOK_SECRET`. During such a change, webhooks carry two signatures, of
    the new and of the old secret. This answer shows the new one, and the audit records that it was read.
    """
    return WebhookSecret(secret=webhook_service.show_secret(db, user.id))
