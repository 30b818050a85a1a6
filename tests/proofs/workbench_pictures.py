"""Screenshots of the workbench's pages over a finished demo, in light and dark: the pictures of docs/workbench.md.

Run in the folder of a demo, with Chromium installed::

    python -m tests.proofs.workbench_pictures --out docs/workbench
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from configs.load import load_settings
from tests.flows.prefect_form import CHROMIUM, QUIET
from tests.tasks.workbench.bench import workbench

SIZE = {"width": 1000, "height": 900}
TALLEST = 1300  # pixels of a picture
ANSWER_MS = 300_000


def judge(page: Page) -> None:
    """An example, judged."""
    page.goto("/")
    page.get_by_role("button", name="Fill in an example").click()
    page.get_by_role("img", name="Image 2").wait_for()
    page.get_by_role("button", name="Judge", exact=True).click()
    page.locator("#result article").wait_for()


def compare(page: Page) -> None:
    """The champion and the first model that differs from it."""
    page.goto("/compare")
    page.get_by_role("button", name="Compare").click()
    page.locator("#result article").first.wait_for()
    page.locator("#result details").first.locator("summary").click()


def traces(page: Page) -> None:
    """The teacher's rejected texts."""
    page.goto("/traces?outcome=rejected&reason=answer_not_label")


def runs(page: Page) -> None:
    """Stages, lineage, curves."""
    page.goto("/runs")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with workbench(load_settings("shapes")) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        page = browser.new_page(base_url=url, viewport=SIZE)
        page.set_default_timeout(ANSWER_MS)
        for show in (judge, compare, traces, runs):
            show(page)
            page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            tall = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({**SIZE, "height": tall})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=out / f"{show.__name__}-{scheme}.png")
            page.set_viewport_size(SIZE)
        browser.close()


if __name__ == "__main__":
    main()
