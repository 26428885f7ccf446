"""The body of every error (RFC 9457)."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class FieldProblem(BaseModel):
    """One refused field. The rejected value is never repeated."""

    loc: list[str | int] = Field(
        description="The place: `body`, `query`, `path` or `header`, then the names and indexes below it."
    )
    msg: str = Field(description="What is wrong, for people. The text may change.")
    type: str = Field(description="What is wrong, for programs. The value is stable.")


class Problem(BaseModel):
    """The body of every error (RFC 9457), with the media type `application/problem+json`."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="A URN that names the kind of problem: `urn:task-service:problem:` and `code`.")
    title: str = Field(description="The kind of problem in a few words. Every problem with this `code` has this title.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What went wrong in this request, and often what to do.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="The kind of problem, for programs. The value is stable.")
    request_id: str = Field(description="The request's id, as in the `X-Request-ID` header and in the log.")
    errors: list[FieldProblem] | None = Field(default=None, description="The refused fields. Only with status 422.")
    checks: dict[str, str] | None = Field(
        default=None, description="Each checked part with `ok` or its fault. Only with the code `not_ready`."
    )
    task_id: UUID | None = Field(
        default=None,
        description="The task that has the key. Only with the code `unique_key_taken`. null if the key stands twice in "
        "one batch.",
    )
