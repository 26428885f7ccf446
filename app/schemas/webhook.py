"""Webhooks over HTTP."""

from pydantic import BaseModel, Field


class WebhookSecret(BaseModel):
    """What a receiver checks the signatures with."""

    secret: str = Field(
        description="`whsec_` and base64, as the libraries of Standard Webhooks take it. Yours alone.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
