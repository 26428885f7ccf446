"""What signs the client in: keys, logins, and profiles whose tokens several processes renew."""

import asyncio
import json
import os
import signal
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from task_service_client import AsyncClient, Client, NotSignedIn, Unreachable, profiles
from task_service_client.errors import BadProfile
from task_service_client.profiles import Profile
from tests.unit.client.conftest import URL, Server, problem, task

EXPIRED = "old"


def tokens(number: int = 1) -> dict[str, Any]:
    return {"access_token": f"a{number}", "refresh_token": f"r{number}", "token_type": "bearer", "expires_in": 900}


def shown() -> httpx.Response:
    return httpx.Response(200, json=task())


class TestKey:
    def test_comes_from_the_environment(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASK_SERVICE_URL", URL + "/")
        monkeypatch.setenv("TASK_SERVICE_API_KEY", "tsk_env")
        server.answers = [shown()]
        with server.connect(Client()) as client:
            client.get("x")
        assert server.headers("authorization") == ["Bearer tsk_env"]

    def test_is_not_sent_again_once_it_is_refused(self, server: Server, client: Client) -> None:
        server.answers = [problem(401, "invalid_token")]
        with pytest.raises(NotSignedIn):
            client.get("x")

    @pytest.mark.parametrize("key", ["tsk_a b", "tsk_a\x00", "tsk_é", " "])
    def test_of_other_characters_is_refused_without_being_told(self, key: str) -> None:
        with pytest.raises(ValueError, match="the API key holds characters that no key has: copy it again"):
            Client(URL, api_key=key)
        Client(URL, api_key="tsk_a\n").close()
        with pytest.raises(ValueError, match="a login needs both username and password"):
            Client(URL, username="anna")


class TestLogin:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_does_not_send_a_refresh_token_twice(self, is_async: bool) -> None:
        """Not even after an answer that was lost: the server would take it for a thief's, and end the login."""
        seen = list[str]()
        logins = iter(range(1, 9))

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request.url.path.rpartition("/")[2])
            if seen[-1] == "login":
                return httpx.Response(200, json=tokens(next(logins)))
            if seen[-1] == "refresh":
                raise httpx.ReadError("reset")
            return shown() if request.headers["authorization"] == "Bearer a2" else problem(401, "invalid_token")

        transport = httpx.MockTransport(answer)

        def ask() -> None:
            client = Client(URL, username="anna", password="pw")
            client._transport._http = httpx.Client(base_url=URL, transport=transport)
            with client, pytest.raises(Unreachable):
                client.get("x")
            client._transport._http = httpx.Client(base_url=URL, transport=transport)
            client.get("x")

        async def ask_async() -> None:
            client = AsyncClient(URL, username="anna", password="pw")
            client._transport._http = httpx.AsyncClient(base_url=URL, transport=transport)
            with pytest.raises(Unreachable):
                await client.get("x")
            await client.get("x")

        asyncio.run(ask_async()) if is_async else ask()
        assert seen == ["login", "x", "refresh", "x", "login", "x"]

    def test_is_made_at_the_first_request_and_renewed(self, server: Server) -> None:
        server.answers = [
            httpx.Response(200, json=tokens(1)), shown(),
            problem(401, "invalid_token"), httpx.Response(200, json=tokens(2)), shown(),
            problem(401, "invalid_token"), problem(401, "invalid_token"), httpx.Response(200, json=tokens(3)), shown(),
        ]  # fmt: skip
        with server.connect(Client(URL, username="anna", password="secret")) as client:
            for _ in range(3):
                client.get("x")
        assert server.requests[0].content == b"username=anna&password=secret"
        bodies = [request.content for request in server.requests if request.url.path.endswith("refresh")]
        assert [json.loads(body)["refresh_token"] for body in bodies] == ["r1", "r2"]
        assert server.headers("authorization")[-1] == "Bearer a3"

    def test_by_call_says_what_is_wrong(self, server: Server) -> None:
        server.answers = [problem(401, "invalid_credentials"), httpx.Response(200, json=tokens()), shown()]
        with server.connect(Client(URL)) as client:
            with pytest.raises(NotSignedIn, match="invalid_credentials"):
                client.login("anna", "wrong")
            client.login("anna", "right", otp="123456")
            client.get("x")
        assert server.requests[1].content == b"username=anna&password=right&otp=123456"


class TestProfile:
    def test_is_readable_by_its_user_alone(self) -> None:
        profiles.save(Profile("work", URL, username="anna", access_token="a", refresh_token="r"), as_current=True)
        path = profiles.directory() / "profiles.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert profiles.load() == Profile("work", URL, username="anna", access_token="a", refresh_token="r")
        profiles.save(Profile("other", URL, api_key="tsk_x"))
        assert (profiles.names(), profiles.chosen_name()) == (["other", "work"], "work")
        profiles.delete("work")
        assert (profiles.names(), profiles.load()) == (["other"], None)

    def test_sends_its_tokens_to_its_own_server_alone(self, server: Server) -> None:
        profiles.save(Profile("default", "https://other.example", api_key="tsk_secret"))
        server.answers = [problem(401, "not_authenticated")]
        with server.connect(Client(URL)) as client, pytest.raises(NotSignedIn):
            client.get("x")
        assert server.headers("authorization") == [None]

    def test_is_of_its_server_in_any_spelling(self, server: Server) -> None:
        profiles.save(Profile("default", "HTTPS://Service.Example/", api_key="tsk_key"))
        for url in (None, "https://service.example", "https://SERVICE.example/"):
            server.answers = [shown()]
            with server.connect(Client(url)) as client:
                client.get("x")
        assert server.headers("authorization") == ["Bearer tsk_key"] * 3

    def test_of_a_damaged_file_says_what_to_do(self) -> None:
        profiles.directory().mkdir(parents=True)
        for text in ("[]", "{", '{"profiles": []}', '{"profiles": {"default": {}}}', '{"profiles": {"default": 1}}', '{"profiles": {"default": {"url": 5}}}',
                     '{"current": ["a"]}', '{"profiles": {"default": {"url": "https://a", "api_key": 5}}}'):  # fmt: skip
            (profiles.directory() / "profiles.json").write_text(text)
            with pytest.raises(BadProfile, match="holds no profiles: delete it and log in again"):
                profiles.load()

    def test_in_the_keyring_names_its_server(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Two folders of profiles share the keyring."""
        kept: dict[tuple[str, str], str] = {}
        keyring = SimpleNamespace(
            set_password=lambda service, name, text: kept.update({(service, name): text}),
            get_password=lambda service, name: kept.get((service, name)),
        )
        monkeypatch.setattr(profiles, "_keyring", lambda: keyring)
        profiles.save(Profile("default", "https://a", access_token="of a"))
        assert "of a" not in (profiles.directory() / "profiles.json").read_text()
        assert profiles.load() == Profile("default", "https://a", access_token="of a", in_keyring=True)
        monkeypatch.setenv("TASK_SERVICE_CONFIG", str(tmp_path / "other"))
        profiles.save(Profile("default", "https://b", access_token="of b"))
        monkeypatch.setenv("TASK_SERVICE_CONFIG", str(tmp_path / "config"))
        assert profiles.load() == Profile("default", "https://a", in_keyring=True)

    def test_in_the_keyring_is_deleted_there_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: dict[tuple[str, str], str] = {}
        keyring = SimpleNamespace(
            set_password=lambda service, name, text: kept.update({(service, name): text}),
            delete_password=lambda service, name: kept.pop((service, name)),
        )
        profiles.save(Profile("before", URL, access_token="a"))
        monkeypatch.setattr(profiles, "_keyring", lambda: keyring)
        profiles.save(Profile("since", URL, access_token="a"))
        for name in ("before", "since", "no-such"):
            profiles.delete(name)
        assert (profiles.names(), kept) == ([], {})

    def test_takes_the_tokens_that_another_process_has_renewed(self, server: Server) -> None:
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))
        server.answers = [problem(401, "invalid_token"), shown()]
        with server.connect(Client()) as client:
            profiles.save(Profile("default", URL, access_token="new", refresh_token="r1"))
            client.get("x")
        assert server.headers("authorization") == [f"Bearer {EXPIRED}", "Bearer new"]

    def test_whose_login_has_ended_says_so(self, server: Server) -> None:
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))
        server.answers = [problem(401, "invalid_token"), problem(401, "invalid_token")]
        with server.connect(Client()) as client, pytest.raises(NotSignedIn, match="the login has ended: log in again"):
            client.get("x")

    def test_does_not_send_a_refresh_token_twice(self, server: Server) -> None:
        """The server would take the second one for a thief's, and end the login."""
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))
        server.answers = [problem(401, "invalid_token"), httpx.ReadError("reset")]

        with server.connect(Client()) as client, pytest.raises(Unreachable):
            client.get("x")

    def test_is_saved_although_the_call_was_given_up(self) -> None:
        """The server has used the refresh token up: a second use would end the login."""
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("refresh"):
                await asyncio.sleep(0.2)
                return httpx.Response(200, json=tokens(1))
            return problem(401, "invalid_token")

        async def give_up() -> None:
            async with AsyncClient() as client:
                client._transport._http = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(answer))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.get("x"), 0.05)

        asyncio.run(give_up())
        assert profiles.load() == Profile("default", URL, access_token="a1", refresh_token="r1")

    def test_is_saved_although_ctrl_c_came(self, server: Server) -> None:
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))

        def interrupted(request: httpx.Request) -> httpx.Response:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # as an answer takes its time
            return httpx.Response(200, json=tokens(1))

        server.answers = [problem(401, "invalid_token"), interrupted]
        with pytest.raises(KeyboardInterrupt), server.connect(Client()) as client:
            client.get("x")
        assert profiles.load() == Profile("default", URL, access_token="a1", refresh_token="r1")

    def test_of_ten_clients_is_renewed_once(self) -> None:
        profiles.save(Profile("default", URL, access_token=EXPIRED, refresh_token="r0"))
        lock, refreshed = threading.Lock(), []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("refresh"):
                with lock:
                    refreshed.append(json.loads(request.content)["refresh_token"])
                return httpx.Response(200, json=tokens(len(refreshed)))
            good = request.headers["authorization"] == "Bearer a1"
            return shown() if good else problem(401, "invalid_token")

        def work() -> None:
            with Client() as client:
                client._transport._http = httpx.Client(base_url=URL, transport=httpx.MockTransport(answer))
                client.get("x")

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refreshed == ["r0"]
