"""What tests of several files use: which sockets are connected."""

import socket

import pytest


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that a socket of this process is connected to."""
    seen: list[object] = []

    class Noting(socket.socket):
        def connect(self, address: object) -> None:
            seen.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Noting)
    return seen
