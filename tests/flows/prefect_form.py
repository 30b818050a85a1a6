"""The Prefect UI's page on which a person starts a deployment, in headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

FORM = re.compile(r"/run$")
CHROMIUM = shutil.which("chromium")
# It looks for nothing outside this machine.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


class RunForm:
    """The form of one deployment."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def field(self, title: str) -> str:
        """What a field shows."""
        return self._input(title).input_value()

    def fill(self, title: str, value: str) -> None:
        """Type a value."""
        self._input(title).fill(value)

    def describes(self, text: str) -> None:
        """The form says this somewhere."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    def submit(self) -> None:
        """Press the button."""
        self.page.get_by_role("button", name="Submit").click()

    def refuses(self, text: str) -> None:
        """The page stays, and says why."""
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=20_000)
        expect(self.page).to_have_url(FORM)

    def accepts(self) -> None:
        """The page shows the deployment's runs."""
        expect(self.page).not_to_have_url(FORM, timeout=20_000)

    def _input(self, title: str) -> Locator:
        label = self.page.get_by_text(f"{title} (Optional)", exact=True)
        return self.page.locator(".schema-form-property", has=label).last.locator("input").first


@contextmanager
def run_form(ui: str, deployment: str) -> Iterator[RunForm]:
    """The page of the deployment with this id on the UI at this address."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1600})
            page.goto(f"{ui}/deployments/deployment/{deployment}/run", wait_until="domcontentloaded")
            expect(page.get_by_text("Parameters").first).to_be_visible(timeout=60_000)
            yield RunForm(page)
        finally:
            browser.close()
