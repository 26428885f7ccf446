"""What receivers of webhooks need."""

from app.api.deps import LoginUser
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import LoginOnly, WebhooksOff
from app.schemas.webhook import WebhookSecret
from app.services.accounts import webhook_secrets

router = SlashRouter(prefix="/users", tags=["users"])


@router.get(
    "/me/webhook-secret",
    response_model=WebhookSecret,
    response_description="Your secret",
    responses=problems(401, LoginOnly, WebhooksOff),
)
def get_webhook_secret(user: LoginUser) -> WebhookSecret:
    """The secret that the webhooks of your tasks are signed with (Standard Webhooks 1.0).

    It stays the same until the service's WEBHOOK_SECRET is changed. While that goes on, webhooks carry signatures of
    the new and of the old secret, and this answers the new one.
    """
    return WebhookSecret(secret=webhook_secrets.secret_of_user(user.id))
