"""One browser, one sandbox and one web server for all tests here; each test has shops and shoppers of its own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.visitors import PATIENCE_MS, Look, Site, Visitor
from playwright.sync_api import Browser, expect, sync_playwright
from support.mypages_harness import Pages
from support.running_plugin import free_port

from plugin.sandbox.testing import RunningSandbox, running_sandbox

CHROMIUM = Path("/usr/bin/chromium")
#: Debian's Chromium as root in a container, without any talk to its maker.
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
            pytest.fail(f"{CHROMIUM} is not there: in CI nothing may be skipped")
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        expect.set_options(timeout=PATIENCE_MS)
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
    with Site(pages, port).serving() as made:
        yield made
    pages.close()


@pytest.fixture(autouse=True)
def well(site: Site) -> Iterator[None]:
    """Engage is well and the clock right when a test begins, whatever the one before did."""
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
