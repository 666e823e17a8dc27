"""Work on a thread that ends with it."""

from __future__ import annotations

import threading

import pytest

from service.own_thread import on_own_thread


def test_the_thread_ends_with_the_work() -> None:
    thread = on_own_thread(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(KeyError):
        on_own_thread(lambda: {}["absent"])
