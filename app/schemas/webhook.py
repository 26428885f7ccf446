"""Response bodies of webhooks."""

from pydantic import Field

from app.schemas.base import ResponseModel


class WebhookSecret(ResponseModel):
    """The secret with which a receiver verifies the signatures of your webhooks."""

    secret: str = Field(
        description="`whsec_` and base64, as Standard Webhooks libraries expect it. Each user has another secret.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
