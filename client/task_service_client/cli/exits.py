"""Exit codes, and the words and the code for each error that a command expects."""

from task_service_client.cli.language import t
from task_service_client.cli.reasons import reason_of
from task_service_client.errors import ApiError, BadProfile, Damaged, NotSignedIn, Unexpected, Unreachable, of_field

OK, FAILED, USAGE, UNREACHABLE, NOT_SIGNED_IN, TIMEOUT, INTERRUPTED = 0, 1, 2, 3, 4, 124, 130
UNPROCESSABLE = 422


class Refused(Exception):
    """A command ends with this message and exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        self.message, self.code = message, code
        super().__init__(message)


def explained(error: BaseException) -> Refused | None:  # noqa: PLR0911 (one for each kind of error)
    """Return what a command says of an error, and its exit code; None for one that is a fault of the program."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, NotSignedIn):
        return Refused(
            t("Not signed in: {reason}. Run `task-service login`.", reason=reason_of(error.detail)), NOT_SIGNED_IN
        )
    if isinstance(error, ApiError):
        return _of_answer(error)
    if isinstance(error, Unreachable):
        return Refused(t("No answer from the server: {reason}", reason=reason_of(error)), UNREACHABLE)
    if isinstance(error, Unexpected):
        return Refused(t("What answers is not the task service: {reason}", reason=error.reason), UNREACHABLE)
    if isinstance(error, TimeoutError):
        return Refused(t("The time is over."), TIMEOUT)
    if isinstance(error, BadProfile):
        return Refused(reason_of(error))
    if isinstance(error, Damaged | OSError):
        return Refused(reason_of(error), FAILED)
    return _of_words(error)


def _of_words(error: BaseException) -> Refused | None:
    """Return what is said of words of the command line that no request can hold; None for another error."""
    if isinstance(error, UnicodeEncodeError):  # bytes that are no text, or a text beyond the locale's encoding
        bad = repr(error.object[error.start : error.end])
        return Refused(t("{text} cannot be encoded in {encoding}.", text=bad, encoding=error.encoding))
    is_of_host = isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError)  # of the codec idna
    if is_of_host or type(error).__name__ == "InvalidURL":  # of httpx, which may not be imported
        return Refused(t("A URL is not valid: {reason}", reason=error))
    return None


def _of_answer(error: ApiError) -> Refused:
    if error.code.startswith("http_"):  # no problem of this service: a proxy, or another server
        return Refused(t("No answer from the service: {reason}", reason=reason_of(error.detail)), UNREACHABLE)
    lines = [f"{reason_of(error.detail)} ({error.code})"]
    for fault in error.errors:
        line = of_field(fault)
        if line not in error.detail:
            lines.append(f"  {line}")
    return Refused("\n".join(lines), USAGE if error.status == UNPROCESSABLE else FAILED)
