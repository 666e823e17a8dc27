"""What `service.server` relies on inside uvicorn and h11.

If this fails after an update, read the tops of `connection.py`, `run.py` and `wire.py` there first: they
say what they need, and why.
"""

import inspect
import re
from typing import Any

import h11
import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http import h11_impl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from tests.places import ROOT

PINNED = "0.54"


def source(thing: Any) -> str:
    return inspect.getsource(thing)


def calls(where: Any, *names: str) -> bool:
    """Whether a method calls others of `self` in this order."""
    pattern = r".*".join(rf"self\.{name}\(" for name in names)
    return re.search(pattern, source(where), re.DOTALL) is not None


def test_uvicorn_is_as_service_server_needs_it() -> None:
    """One test for all of it, so that one failure names everything that has changed."""
    config = uvicorn.Config(app=lambda: None, timeout_keep_alive=1)
    written = source(h11_impl).replace("self.transport.write(", "").replace("self.transport.close(", "")
    cycle = set(re.findall(r"self\.(\w+)", source(RequestResponseCycle)))
    made = set(re.findall(r"self\.(\w+)\b[^=\n]*=", source(H11Protocol.__init__)))
    server = set(re.findall(r"self\.(\w+)", source(uvicorn.Server)))
    facts = {
        "its minor version": uvicorn.__version__.startswith(f"{PINNED}."),
        "pyproject.toml pins it": f'"uvicorn[standard]>={PINNED},<0.55"'
        in (ROOT / "pyproject.toml").read_text(),
        "data_received calls handle_events": calls(H11Protocol.data_received, "handle_events"),
        "handle_events answers what is not HTTP by send_400_response": calls(
            H11Protocol.handle_events, "send_400_response"
        ),
        "an idle connection is closed by timeout_keep_alive_handler": "self.timeout_keep_alive_handler"
        in source(H11Protocol.on_response_complete),
        "shutdown closes idle connections": "self.transport.close()" in source(H11Protocol.shutdown),
        "the end of input closes the connection": H11Protocol.eof_received(object()) is None,  # type: ignore[arg-type,func-returns-value]
        "a connection's attributes": {
            "conn",
            "transport",
            "connections",
            "cycle",
            "scheme",
            "loop",
            "timeout_keep_alive_task",
        }
        <= made,
        "a request's attributes": {"scope", "response_complete", "disconnected", "message_event"} <= cycle,
        "a request is told of its end by on_response": "on_response=self.on_response_complete"
        in source(H11Protocol.handle_events),
        "it writes and closes by `write` and `close` alone": not re.search(
            r"transport\.(writelines|write_eof|abort)\(", written
        ),
        "the server's steps": calls(uvicorn.Server._serve, "startup", "main_loop", "shutdown"),
        "it installs handle_exit": "self.handle_exit" in source(uvicorn.Server.capture_signals),
        "it ends when should_exit is set": "self.should_exit" in source(uvicorn.Server.on_tick),
        "the server's attributes": {"servers", "lifespan", "started", "force_exit", "server_state"} <= server,
        "what makes a connection": list(inspect.signature(H11Protocol.__init__).parameters)[1:]
        == ["config", "server_state", "app_state", "_loop"],
        "the lifespan": {"startup", "shutdown"} <= set(dir(LifespanOn)),
        "connections are kept": isinstance(uvicorn.Server(config).server_state.connections, set),
        "h11 shows what it has not read": isinstance(h11.Connection.trailing_data, property),
        "h11's errors have a status": h11.RemoteProtocolError("x", error_status_hint=431).error_status_hint
        == 431,
    }
    assert [fact for fact, holds in facts.items() if not holds] == []


def test_h11_refuses_headers_that_are_not_whole_by_the_limit() -> None:
    connection = h11.Connection(h11.SERVER, 100)
    connection.receive_data(b"x" * 101)
    with pytest.raises(h11.RemoteProtocolError) as raised:
        connection.next_event()
    assert raised.value.error_status_hint == 431
