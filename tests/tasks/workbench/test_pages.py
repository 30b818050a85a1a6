"""The pages in headless Chromium: by mouse and by keyboard, at a phone's width, in both colour schemes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from configs.schema import Settings
from models.generation.decoding.loop import Decoding
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from tasks.data.inbox.records import INBOX
from tasks.pipeline.run import open_store
from tests.flows.prefect_form import CHROMIUM, QUIET, needs_chromium

pytestmark = needs_chromium

PAGES = {"Judge": "/", "Compare": "/compare", "Traces": "/traces", "Runs": "/runs"}
ANSWER_MS = 120_000
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Browser]:
    """Started after the workbench: Playwright keeps an event loop in this thread, and nothing else can start one."""
    del url
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser, url: str) -> Iterator[Page]:
    """A tab on the workbench; whatever its console complains about fails the test."""
    page = browser.new_page(base_url=url)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(ANSWER_MS)
    yield page
    page.close()
    assert complaints == []


def drops(settings: Settings) -> set[str]:
    return {found.path.split("/")[1] for found in open_store(settings).objects.walk(INBOX)}


def judged(tab: Page) -> None:
    tab.get_by_role("button", name="Judge", exact=True).click()
    expect(tab.locator("#result article")).to_be_visible(timeout=ANSWER_MS)


@pytest.mark.parametrize("task", [Task.IMAGE_GENERATION, Task.VIDEO_GENERATION])
def test_uploaded_candidates_are_judged_and_a_preference_is_saved(
    tab: Page, settings: Settings, tmp_path: Path, task: Task
) -> None:
    made = make_pair(task, 1, seed=4, held_out=True)
    noun = task.media_kind.capitalize()
    tab.goto("/")
    tab.get_by_label(f"Two {noun.lower()}s for a caption").check()
    tab.get_by_label("Direct").check()
    tab.get_by_role("textbox", name="Caption").fill(made.pair.prompt)
    for at, data in enumerate(made.blobs.values(), 1):
        (tmp_path / f"{at}.png").write_bytes(data)
        tab.get_by_label(f"{noun} {at}", exact=True).set_input_files(tmp_path / f"{at}.png")
        expect(tab.get_by_role("img", name=f"{noun} {at}")).to_be_visible()
    judged(tab)
    first, second = tab.locator("#writing pre").all_inner_texts()
    assert first.endswith("is better") and second.endswith("is better")
    expect(tab.locator("#result h2")).to_have_text(first)
    agree = "both orders agree" if first != second else "the answer depends on the order"
    expect(tab.get_by_role("list", name="Checks")).to_contain_text(agree)
    before = drops(settings)
    tab.get_by_role("group", name="Your preference").get_by_role("button", name=f"{noun} 2").click()
    expect(tab.locator("#result [role=status]")).to_contain_text("saved in the inbox as workbench-")
    (name,) = drops(settings) - before
    expect(tab.locator("#result [role=status]")).to_contain_text(name)


@pytest.mark.parametrize("task", [Task.IMAGE_UNDERSTANDING, Task.VIDEO_UNDERSTANDING])
def test_answers_are_judged_from_an_example(tab: Page, task: Task) -> None:
    tab.goto("/")
    tab.get_by_label(f"Two answers about {'an image' if 'image' in task else 'a video'}").check()
    tab.get_by_label("Direct").check()
    tab.get_by_role("button", name="Fill in an example").click()
    expect(tab.locator("#about img")).to_be_visible()
    assert tab.get_by_label("Answer 2").input_value()
    tab.get_by_label("Model").select_option("challenger")
    judged(tab)
    expect(tab.locator("#result .id")).to_contain_text("challenger")


def test_what_is_missing_or_broken_is_said_on_the_page(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    tab.goto("/")
    tab.get_by_role("textbox", name="Caption").fill("a red square")
    tab.get_by_role("button", name="Judge", exact=True).click()
    expect(tab.get_by_role("alert")).to_have_text("choose image 1")
    tab.get_by_role("button", name="Fill in an example").click()
    expect(tab.get_by_role("img", name="Image 2")).to_be_visible()
    tab.get_by_label("Image 1", exact=True).set_input_files(tmp_path / "text.png")
    tab.get_by_role("button", name="Judge", exact=True).click()
    expect(tab.get_by_role("alert")).to_contain_text("candidate_1")
    expect(tab.get_by_role("alert")).to_contain_text("cannot be decoded")
    expect(tab.get_by_role("button", name="Judge", exact=True)).to_be_enabled()


def test_thinking_streams_and_can_be_stopped(tab: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = Decoding._choose

    def slowly(*given: Any) -> Any:  # so that the answer is not there before anybody can stop it
        time.sleep(0.2)
        return choose(*given)

    monkeypatch.setattr(Decoding, "_choose", slowly)
    tab.goto("/")
    tab.get_by_role("button", name="Fill in an example").click()
    expect(tab.get_by_role("img", name="Image 2")).to_be_visible()
    tab.get_by_role("button", name="Judge", exact=True).click()
    expect(tab.locator("#writing pre").first).not_to_be_empty()
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator("#status")).to_have_text("stopped")


def test_by_keyboard_alone(tab: Page) -> None:
    tab.goto("/")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab.keyboard.press("Enter")
    tab.get_by_label("Two images for a caption").focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    expect(tab.get_by_label("Two answers about an image")).to_be_checked()
    tab.get_by_role("button", name="Fill in an example").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#about img")).to_be_visible()
    tab.get_by_label("Thinking").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_label("Direct")).to_be_checked()
    tab.get_by_label("Question").focus()
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.type") == "submit":
            break
    tab.keyboard.press("Enter")
    expect(tab.locator("#result article")).to_be_visible(timeout=ANSWER_MS)
    expect(tab.locator("#result")).to_be_focused()
    tab.keyboard.press("Tab")
    expect(tab.locator("#result [data-vote='1']")).to_be_focused()


def test_two_models_are_compared_and_a_vote_is_saved(tab: Page, settings: Settings) -> None:
    tab.goto("/compare")
    tab.locator("select[name=mode]").select_option("direct")
    tab.locator("select[name=count]").select_option("6")
    tab.get_by_role("button", name="Compare").click()
    expect(tab.locator("#result article")).to_have_count(6, timeout=ANSWER_MS)
    expect(tab.locator("#result > h2")).to_contain_text("champion and challenger differ on")
    before = drops(settings)
    tab.locator("#result article").first.get_by_role("button", name="Equal").click()
    expect(tab.locator("#result article [role=status]").first).to_contain_text("saved in the inbox")
    assert len(drops(settings) - before) == 1


def test_traces_are_searched_and_turned_over(tab: Page) -> None:
    tab.goto("/traces")
    tab.get_by_role("link", name="Next").click()
    expect(tab.get_by_text("page 2 of 4")).to_be_visible()
    tab.get_by_label("Outcome").select_option("rejected")
    tab.get_by_role("button", name="Show").click()
    shown = tab.locator("article > header > .verdict").all_inner_texts()
    assert shown and all(words.startswith("✗") for words in shown)
    tab.get_by_role("link", name="Rejection sampling").click()
    tab.get_by_label("Search").fill("taken")
    tab.keyboard.press("Enter")
    expect(tab.locator("article")).to_have_count(3)
    expect(tab).to_have_title("Traces · Thinkreward")
    tab.get_by_role("link", name="GRPO").click()
    expect(tab.locator("article")).to_have_count(2)


def test_runs_has_the_stages_and_the_report_is_reached(tab: Page) -> None:
    tab.goto("/runs")
    expect(tab.get_by_role("row")).to_have_count(9)
    expect(tab.get_by_role("img").first).to_be_visible()  # a chart


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_phone_and_its_text_stands_out(browser: Browser, url: str, path: str, scheme: str) -> None:
    page = browser.new_page(base_url=url, viewport=PHONE, color_scheme=scheme)
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    unlabelled = (
        "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((x) => !x.labels.length)"
    )
    assert page.evaluate(f"{unlabelled}.length") == 0
    assert page.evaluate("[...document.images].filter((x) => !x.alt).length") == 0
    assert contrast(page, "body") > 7
    assert contrast(page, ".soft") > 4.5
    page.close()


def contrast(page: Page, selector: str) -> float:
    """Of a text against the page (WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    rgb = "((c) => c.match(/[0-9.]+/g).slice(0, 3).map(Number))"
    ink = page.evaluate(f"{rgb}(getComputedStyle(document.querySelector('{selector}')).color)")
    ground = page.evaluate(f"{rgb}(getComputedStyle(document.body).backgroundColor)")
    lights = sorted((luminance(one) for one in (ink, ground)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(rgb: list[float]) -> float:
    parts = [part / 255 for part in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
