"""The body of every error (RFC 9457)."""

from pydantic import BaseModel, ConfigDict, Field


class FieldProblem(BaseModel):
    """One refused field. The rejected value itself is never repeated."""

    loc: list[str | int] = Field(description="Where: `body`, `query` or `path`, then the names and indexes below it.")
    msg: str = Field(description="What is wrong with it, for people.")
    type: str = Field(description="What is wrong with it, for programs.")


class Problem(BaseModel):
    """`application/problem+json`, the body of every answer of 400 and above."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="A URN that names the kind of problem: `urn:task-service:problem:` and the code.")
    title: str = Field(description="The kind of problem in a few words; the same for each occurrence.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What went wrong this time.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="Stable, for programs to branch on.")
    request_id: str = Field(description="The `X-Request-ID` of this answer; the logs carry it too.")
    errors: list[FieldProblem] | None = Field(default=None, description="The refused fields; with status 422 only.")
