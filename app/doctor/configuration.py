"""The settings: those that are refused, are missing, or are probably misspelt."""

from collections.abc import Iterator

from app.core.config import ConfigurationError, Settings, setting_warnings
from app.doctor.findings import Finding, fail, ok, say, warn

NEEDED = ("database_url", "celery_broker_url")
_PREFIX = "configuration: "


def refused(error: ConfigurationError) -> Iterator[Finding]:
    """Yield a finding for each setting that is refused."""
    for line in str(error).splitlines():
        yield fail(
            say("{}", line.removeprefix(_PREFIX)), say("correct the setting: docs/configuration.md describes it")
        )
    yield warn(say("nothing else is checked without settings"))


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Say what is missing, and repeat the warnings that each process logs at its start."""
    wrong = False
    for name in NEEDED:
        if getattr(settings, name) is None:
            wrong = True
            yield fail(
                say("{} is not set", name.upper()),
                say("set it in .env or in the environment, or start everything with `python3 run_server.py`"),
            )
    new_key = say('set it to the output of `python3 -c "import secrets; print(secrets.token_hex(32))"`')
    if settings.secret_key is None:
        wrong = True
        yield warn(say("SECRET_KEY is not set: each process signs tokens with a key of its own"), new_key)
    for line in setting_warnings(settings):
        wrong = True
        is_of_key = line.startswith("SECRET_KEY ")
        yield warn(say("{}", line.removeprefix(_PREFIX)), new_key if is_of_key else say("correct or remove it"))
    if not wrong:
        yield ok(say("APP_ENV={}", settings.app_env))
