"""Signing functions at an address that only this process knows, for a library that can only ask addresses.

The C2PA library signs a claim through a function, but an identity assertion only with a key in its settings
or at an address. So that a key in a token or a key service can sign both, its function is served on the
loopback interface, under a path nobody can guess.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["SigningServer"]

_MAX_BYTES = 16 * 1024 * 1024
_PATIENCE_S = 60.0


class SigningServer:
    """Serves signing functions on 127.0.0.1. Started where it is first needed, and anew after a fork.

    The library's way of asking addresses does not outlive a fork once it was used: `forked` tells of it.
    """

    def __init__(self, functions: dict[str, Callable[[bytes], bytes]]) -> None:
        self._functions = {secrets.token_urlsafe(24): (name, sign) for name, sign in functions.items()}
        self._lock = threading.Lock()
        self._server: tuple[int, ThreadingHTTPServer] | None = None
        self._faults: deque[Exception] = deque(maxlen=16)
        self.forked = False

    def urls(self) -> dict[str, str]:
        """Return the address of each function."""
        with self._lock:
            if self._server is None or self._server[0] != os.getpid():
                self.forked = self._server is not None
                self._server = (os.getpid(), self._started())
            port = self._server[1].server_port
        return {name: f"http://127.0.0.1:{port}/{token}" for token, (name, _) in self._functions.items()}

    def fault(self) -> Exception | None:
        """Return what a function raised last, once."""
        return self._faults.pop() if self._faults else None

    def _started(self) -> ThreadingHTTPServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S

            def do_POST(self) -> None:
                status, body = outer._answer(self.path, self._sent())
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _sent(self) -> bytes:
                length = self.headers.get("content-length", "")
                return self.rfile.read(min(int(length), _MAX_BYTES)) if length.isdecimal() else b""

            def log_message(self, *_: Any) -> None:
                """Say nothing: the address is a secret."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="clearmark signing", daemon=True).start()
        return server

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        found = next((one for token, one in self._functions.items() if path == f"/{token}"), None)
        if found is None:
            return 404, b""
        try:
            return 200, found[1](body)
        except Exception as exc:  # noqa: BLE001  whatever it is, it is why nothing was signed
            self._faults.append(exc)
            return 500, b""
