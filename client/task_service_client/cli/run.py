"""One run of a command: the options that all commands have, the client, and what goes to stdout and stderr."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import language, t
from task_service_client.cli.reasons import reason_of
from task_service_client.cli.texts import safe

if TYPE_CHECKING:
    from rich.console import Console

    from task_service_client import AsyncClient, Client

FORMATS = ("text", "json", "jsonl")
C = TypeVar("C")


@dataclass(frozen=True)
class Run:
    """What was asked for of all commands. `fields` is empty where no field is named."""

    output: str = "text"
    fields: tuple[str, ...] = ()
    profile: str | None = None
    url: str | None = None

    def with_options(self, output: str | None, fields: str | None, profile: str | None, url: str | None) -> "Run":
        """Return these options where they are given, and the ones before else."""
        return replace(
            self,
            output=output or self.output,
            fields=tuple(each.strip() for each in fields.split(",") if each.strip()) if fields else self.fields,
            profile=profile or self.profile,
            url=url or self.url,
        )

    # The server

    def choose_profile(self) -> None:
        """Let the client find the profile that `--profile` names. It goes before what the environment names."""
        from task_service_client import profiles

        if self.profile is None:
            return
        known = profiles.names()
        if self.profile not in known:
            names = ", ".join(known) or t("none")
            raise Refused(t("There is no profile {name}. There are: {names}", name=self.profile, names=names))
        os.environ["TASK_SERVICE_PROFILE"] = self.profile
        os.environ.pop("TASK_SERVICE_URL", None)
        os.environ.pop("TASK_SERVICE_API_KEY", None)

    def client(self, timeout: float = 30.0) -> "Client":
        """Return a client of the server. Raises Refused where none is known."""
        from task_service_client import Client

        self._check_server()
        return signed_in(lambda: Client(self.url, timeout=timeout, language=language()))

    def async_client(self) -> "AsyncClient":
        from task_service_client import AsyncClient

        self._check_server()
        return signed_in(lambda: AsyncClient(self.url, language=language()))

    def _check_server(self) -> None:
        from task_service_client.requests import url_of

        self.choose_profile()
        named = self.url or os.environ.get("TASK_SERVICE_URL")
        try:
            url = url_of(named)
        except ValueError as error:
            if named:
                raise Refused(reason_of(error)) from None
            raise Refused(t("No server is known. Run `task-service login URL`."), exits.NOT_SIGNED_IN) from None
        if named and not os.environ.get("TASK_SERVICE_API_KEY"):  # else the URL is the profile's
            self._tell_of_another(url)

    def _tell_of_another(self, url: str) -> None:
        """Say where the profile is of another server, which alone gets its credentials."""
        from task_service_client import profiles
        from task_service_client.errors import BadProfile
        from task_service_client.requests import normalised

        try:
            kept = profiles.load()
            its = url if kept is None else normalised(kept.url)
        except (BadProfile, ValueError):
            return  # the client says what it is not signed in with
        if kept is not None and its != url:
            self.say(t("The profile {name} is of {its}, and not of {url}.", name=kept.name, its=its, url=url))

    # stdout and stderr

    def say(self, text: str) -> None:
        """Tell the reader something that is no data."""
        print(safe(text), file=sys.stderr, flush=True)

    @property
    def has_bars(self) -> bool:
        """Whether bars are shown: stderr is a terminal that moves its cursor."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def can_ask(self) -> bool:
        return sys.stdin.isatty() and sys.stderr.isatty()


def signed_in(make: Callable[[], C]) -> C:
    """Return the client that is made. Raises Refused where what is to sign it in is no API key."""
    try:
        return make()
    except ValueError as error:
        raise Refused(reason_of(error), exits.NOT_SIGNED_IN) from None


def console(*, of_messages: bool = False) -> "Console":
    """Return the console of stdout, or of stderr: colours on a terminal alone, and none with NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if of_messages else sys.stdout
    return Console(file=stream, force_terminal=stream.isatty(), highlight=False, emoji=False, markup=False)
