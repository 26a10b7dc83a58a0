"""A small load generator: keep-alive connections that send prepared requests and time each answer."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements of a load. seconds: from the first request to the last answer; times: seconds of each request."""

    seconds: float
    times: list[float]
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.times) / self.seconds


def request_bytes(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return an HTTP/1.1 POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def get_bytes(path: str, headers: dict[str, str]) -> bytes:
    """Return an HTTP/1.1 GET as bytes."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post_all(port: int, requests: Sequence[bytes], connections: int, stop: Callable[[], bool] = lambda: False) -> Load:
    """Send all requests over a number of connections and return the measurements."""
    times: list[float] = []
    statuses: dict[int, int] = {}
    todo = iter(requests)
    lock = threading.Lock()

    def work() -> None:
        own_times: list[float] = []
        own: dict[int, int] = {}
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not stop():
                with lock:
                    request = next(todo, None)
                if request is None:
                    break
                started = time.perf_counter()
                connection.sendall(request)
                status = _read_answer(connection)
                own_times.append(time.perf_counter() - started)
                own[status] = own.get(status, 0) + 1
        with lock:
            times.extend(own_times)
            for status, number in own.items():
                statuses[status] = statuses.get(status, 0) + number

    threads = [threading.Thread(target=work) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(time.perf_counter() - started, times, statuses)


def _read_answer(connection: socket.socket) -> int:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server hung up")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    missing = length - len(rest)
    while missing > 0:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server hung up")
        missing -= len(chunk)
    return int(head.split(b" ", 2)[1])
