"""Listening: what connections take over from the socket that they come in at."""

import socket

import pytest

from api.listening import Silence, listen


@pytest.mark.parametrize("count", [1, 2])
def test_a_client_that_is_gone_without_a_word_is_found_out(count: int) -> None:
    listeners = listen("127.0.0.1", 0, Silence(20.0, 12.0), count)
    *others, listener = listeners
    for other in others:
        other.close()  # The kernel chooses among those that listen.
    with listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
    with accepted:
        asked = {
            option: accepted.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        }
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert list(asked.values()) == [20, 3, 4]


@pytest.mark.parametrize("silence", [Silence(0.001, 0.001), Silence(1e9, 1e9)])
def test_no_time_is_too_short_or_too_long(silence: Silence) -> None:
    (listener,) = listen("127.0.0.1", 0, silence)
    listener.close()
