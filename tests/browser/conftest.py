"""A browser, a sandbox and a web server shared by all tests here. Each test has its own shops and shoppers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.visitors import TIMEOUT_MS, Look, Site, Visitor
from playwright.sync_api import Browser, expect, sync_playwright
from support.mypages_harness import Pages
from support.running_plugin import free_port

from plugin.sandbox.testing import RunningSandbox, running_sandbox

CHROMIUM = Path("/usr/bin/chromium")
#: For Debian's Chromium as root in a container, without calls to its vendor.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser; without one the tests skip, and in CI they fail."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: in CI no test may be skipped")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        expect.set_options(timeout=TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def engage() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, engage: RunningSandbox) -> Iterator[Site]:
    port = free_port()
    pages = Pages(tmp_path_factory.mktemp("pages"), engage, public_url=f"http://127.0.0.1:{port}")
    with Site(pages, port).serving() as served:
        yield served
    pages.close()


@pytest.fixture(autouse=True)
def recovered(site: Site) -> Iterator[None]:
    """Reset faults and the clock before and after each test."""
    site.recover()
    yield
    site.recover()


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Visit]:
    """Open a browser window of its own: `visit(width=320, dark=True)`."""
    open_windows = []

    def open_window(**options: object) -> Visitor:
        visitor = Visitor(chromium, site, Look(**options))  # type: ignore[arg-type]
        open_windows.append(visitor)
        return visitor

    yield open_window
    for window in open_windows:
        window.close()
