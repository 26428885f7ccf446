"""`login` and `logout`."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from task_service_client.cli import exits
from task_service_client.cli.answers import read, shape
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import language, t
from task_service_client.cli.options import argument, option
from task_service_client.cli.reasons import reason_of
from task_service_client.cli.run import Run, signed_in

if TYPE_CHECKING:
    from task_service_client.profiles import Profile

DEFAULT_URL = "http://localhost:8000"
OTP_REQUIRED = "second_factor_required"
LOGIN_SECONDS = 30.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def login(
    run: Run,
    url: Annotated[str | None, argument("[URL]", "The server, such as http://localhost:8000.")] = None,
    username: Annotated[str | None, option("--username -u", "A username or an e-mail address.")] = None,
    password_stdin: Annotated[bool, option("--password-stdin", "Read the password from stdin.")] = False,
    api_key_stdin: Annotated[bool, option("--api-key-stdin", "Read an API key from stdin.")] = False,
    otp: Annotated[str | None, option("--otp", "A one-time code of a second factor.", "CODE")] = None,
) -> None:  # fmt: skip
    """Sign in, and save a profile.

    On a terminal it asks for what is not given.
    """
    from task_service_client import profiles

    if password_stdin and api_key_stdin:
        raise Refused(t("--password-stdin and --api-key-stdin are two ways of signing in: name one."))
    name, kept = _kept(run)
    if not name.isprintable():
        raise Refused(t("{name} is no name of a profile: it cannot be printed.", name=repr(name)))
    profile = profiles.Profile(name, _url(run, url, kept))
    parts = urlsplit(profile.url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        run.say(t("Warning: {url} is not https: what is sent there can be read on the way.", url=profile.url))
    _check_folder()
    if api_key_stdin:
        profile = _with_key(profile, _from_stdin())
    else:
        username = username or _asked(run, t("Username"), "--username")
        password = _from_stdin() if password_stdin else _asked(run, t("Password"), "--password-stdin", is_hidden=True)
        profile = _with_tokens(run, profile, username, password, otp)
    with profiles.locked(profile.name):
        saved = _save(profile)
    if profiles.has_keyring() and not saved.in_keyring:
        path = profiles.directory() / "profiles.json"
        run.say(t("Warning: the keyring takes nothing: the tokens are in {path}, which you alone can read.", path=path))
    known_as = f"{profile.username}, {profile.url}" if profile.username else profile.url
    run.say(t("Signed in: {profile} ({name}).", profile=known_as, name=profile.name))


def logout(run: Run) -> None:
    """End the login of a profile, and forget it."""
    from task_service_client import Client, NotSignedIn, TaskServiceError, profiles

    run.choose_profile()
    name = profiles.chosen_name(run.profile)
    profile = profiles.load(name)
    if profile is None:
        raise Refused(t("There is no profile {name}.", name=name), exits.NOT_SIGNED_IN)
    run.with_options(None, None, name, None).choose_profile()
    failure: Exception | None = None
    if profile.api_key is None:
        try:
            with Client(profile.url) as client:
                client.request("POST", "/api/v1/auth/logout")
        except NotSignedIn:
            pass  # it has ended before
        except TaskServiceError as error:
            failure = error
        except ValueError as error:  # the profile's URL is none
            failure = Refused(reason_of(error))
    with profiles.locked(name):
        profiles.delete(name)
    run.say(t("Signed out: {name}.", name=name))
    if profile.api_key is not None:
        run.say(t("The API key itself stays valid: `task-service keys rm` revokes it."))
    if failure is not None:
        run.say(t("The server has not confirmed it: the login may last there until its time."))
        raise failure


def _check_folder() -> None:
    """Raise OSError where no profile can be saved, before the server is asked."""
    import tempfile

    from task_service_client import profiles

    folder = profiles.directory()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=folder):
        return


def _kept(run: Run) -> tuple[str, "Profile | None"]:
    """Return the name of the profile, and what is kept of it; None also for what is damaged, which is overwritten."""
    import os

    from task_service_client import profiles
    from task_service_client.errors import BadProfile

    try:
        name = profiles.chosen_name(run.profile)
    except BadProfile:
        return run.profile or os.environ.get("TASK_SERVICE_PROFILE") or profiles.DEFAULT, None
    try:
        return name, profiles.load(name)
    except BadProfile:
        return name, None


def _save(profile: "Profile") -> "Profile":
    """Keep a profile, and return it as it is kept.

    A damaged file is replaced; of one whose other profiles can be read these stay.
    """
    from task_service_client import profiles
    from task_service_client.errors import BadProfile

    try:
        profiles.names()
    except BadProfile:
        (profiles.directory() / "profiles.json").unlink()
    return profiles.save(profile, as_current=True)


def _url(run: Run, named: str | None, kept: "Profile | None") -> str:
    from task_service_client.requests import url_of

    if found := named or run.url or (kept.url if kept and run.profile else None):
        if "://" not in found:
            found = f"http://{found}" if found.partition(":")[0] in LOOPBACK else f"https://{found}"
    else:
        import os

        found = os.environ.get("TASK_SERVICE_URL") or (kept.url if kept else None)
        if found is None or run.can_ask:
            found = _asked(run, "URL", "URL", default=found or DEFAULT_URL)
    try:
        return url_of(found)
    except ValueError as error:
        raise Refused(reason_of(error)) from None


def _asked(run: Run, what: str, option: str, *, is_hidden: bool = False, default: str | None = None) -> str:
    if not run.can_ask:
        raise Refused(t("{option} is needed where there is no terminal to ask on.", option=option))
    return str(typer.prompt(what, default=default, hide_input=is_hidden, err=True))


def _from_stdin() -> str:
    """Return stdin without its line end."""
    found = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not found:
        raise Refused(t("There is nothing on stdin."))
    return found


def _with_key(profile: "Profile", key: str) -> "Profile":
    """Return the profile with this key. Raises NotSignedIn where the server does not take it."""
    from dataclasses import replace

    from task_service_client import ApiError, Client

    with signed_in(lambda: Client(profile.url, api_key=key, language=language())) as client:
        try:
            user: dict[str, Any] = read(client.request("GET", "/api/v1/users/me"), shape(username=str))
        except ApiError as error:
            if error.code != "insufficient_scope":  # a key that may not read is one, too
                raise
            user = {}
    return replace(profile, api_key=key, username=user.get("username"))


def _with_tokens(run: Run, profile: "Profile", username: str, password: str, otp: str | None) -> "Profile":
    from dataclasses import replace

    from task_service_client import NotSignedIn
    from task_service_client._sync.credentials import LOGIN, Credentials
    from task_service_client._sync.transport import Transport
    from task_service_client.base import Tokens

    with closing(Transport(profile.url, Credentials(), LOGIN_SECONDS, language())) as transport:
        while True:
            form = {"username": username, "password": password, **({"otp": otp} if otp else {})}
            try:
                tokens = read(transport.request("POST", LOGIN, data=form), Tokens)
                break
            except NotSignedIn as error:
                if error.code != OTP_REQUIRED or not run.can_ask:
                    raise Refused(f"{error.detail} ({error.code})", exits.NOT_SIGNED_IN) from None
                if otp is not None:
                    run.say(t("This code is wrong or was used before."))
            otp = _asked(run, t("One-time code"), "--otp")
    return replace(
        profile, username=username, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"]
    )
