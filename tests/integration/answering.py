"""Two processes behind one port, each of which answers with its number: what `test_handing` looks at."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from epicrisis.handing import Processes, Server


async def app(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer(_: int, line: socket.socket) -> None:
    Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"), line).run()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        Processes(2, answer, listener).run()
