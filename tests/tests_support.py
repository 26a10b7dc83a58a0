"""Helpers that tests import."""

import os
from datetime import UTC, datetime, timedelta

import pytest


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
