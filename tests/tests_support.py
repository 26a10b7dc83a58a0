"""Helpers that tests import."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from plugin.engage.client import EngageClient
from plugin.engage.gate import GateRules, Gates
from plugin.engage.transport import EngageAccount, Transport
from plugin.sandbox.testing import RunningSandbox


def service_url(name: str) -> str:
    """Return the address of a service that a test needs; without it the test skips, and in CI it fails."""
    url = os.environ.get(name)
    if url:
        return url
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not set: in CI nothing may be skipped")
    pytest.skip(f"{name} is not set")


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> datetime:
        self.time += timedelta(seconds=seconds)
        return self.time


@contextmanager
def engage_client(sandbox: RunningSandbox, *, key: str = "key-of-tests") -> Iterator[EngageClient]:
    """A client of a running sandbox that no rate budget slows down."""
    transport = Transport(Gates(None, GateRules(rate=200, share=50.0, probe_s=0.001)))
    try:
        yield EngageClient(EngageAccount(sandbox.url, key, "web-se", "shopify", "ECOM", "web-se"), transport)
    finally:
        transport.close()
