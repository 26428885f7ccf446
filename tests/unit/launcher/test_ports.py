"""Choosing a port."""

import socket

import pytest

from app.launcher import server
from app.launcher.errors import LauncherError
from app.launcher.options import read_options
from app.launcher.ports import LOOPBACK, free_loopback_port, is_free, next_free


class Lines(list):
    """A console that remembers."""

    say = list.append


@pytest.fixture
def taken():
    with socket.create_server((LOOPBACK, 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("address", [LOOPBACK, ""])
def test_a_port_with_a_listener_is_not_free(address):
    with socket.create_server((address, 0)) as listening:
        assert not is_free(LOOPBACK, listening.getsockname()[1])


def test_a_free_port_is(taken):
    port = free_loopback_port()
    assert port != taken
    assert is_free(LOOPBACK, port)


def test_the_next_free_port_is_beyond_the_taken_one_and_none_is_beyond_the_last(taken):
    found = next_free(LOOPBACK, taken)
    assert found is None or found > taken
    assert next_free(LOOPBACK, 65536) is None


class TestChoosePort:
    def test_the_usual_port_that_is_taken_is_replaced_with_a_word(self, taken, monkeypatch):
        monkeypatch.setattr(server, "DEFAULT_PORT", taken)
        said = Lines()
        port = server.choose_port(LOOPBACK, None, said)
        assert port > taken
        assert said == [f"port {taken} is taken: using {port}"]

    def test_the_port_asked_for_that_is_taken_is_an_error(self, taken):
        with pytest.raises(LauncherError, match=f"port {taken} .* is taken"):
            server.choose_port(LOOPBACK, taken, Lines())

    def test_an_address_that_is_not_of_this_machine_is_an_error(self):
        with pytest.raises(LauncherError, match=r"cannot listen on 192\.0\.2\.1:8000: Cannot assign"):
            server.choose_port("192.0.2.1", None, Lines())

    def test_the_port_asked_for_is_used(self):
        port, said = free_loopback_port(), Lines()
        assert server.choose_port(LOOPBACK, port, said) == port
        assert said == []


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--workers", "0"]])
def test_numbers_out_of_range_are_refused_by_the_command_line(arguments, capsys):
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert "usage" in capsys.readouterr().err
