"""One browser for all tests of the site.

Where no Chromium is found the tests are skipped; with CI_BROWSER=1 that is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.slow import pytest_runtest_call  # noqa: F401


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    reason = "no Chromium on the PATH"
    if os.environ.get("CI_BROWSER") == "1":
        pytest.fail(f"{reason}, and CI_BROWSER=1 asks for one")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        # as root, which a container often is, Chromium wants no sandbox
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
