"""
The page of HTML, in a real browser.
"""

import shutil

from pathlib import Path

import pytest

from playwright.async_api import async_playwright

from tests.support.audit_sample import sample
from webhook.survey.formats.page import as_html


BUILD = Path(__file__).parents[2] / "build"
pytestmark = pytest.mark.browser


@pytest.fixture(name="chromium")
def _chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return path


@pytest.fixture(name="page")
async def _page(chromium, tmp_path):

    survey = await sample(namespaces=40, pods=5000)
    file = tmp_path / "audit.html"
    file.write_text(as_html(survey), encoding="utf-8")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        trouble = []
        page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith("file:") else trouble.append(request.url)
            ),
        )
        page.trouble = trouble
        await page.goto(file.as_uri())
        yield page
        await browser.close()


async def column(page, table, index):
    return await page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden]) td:nth-child({index})",
        "cells => cells.map(cell => cell.dataset.value ?? cell.textContent.trim())",
    )


async def test_the_page_works_in_a_browser(page):
    """Headings sort, controls filter, nothing is loaded or logged, and hostile images are text."""
    pods = [int(value) for value in await column(page, "t-registries", 5)]
    await page.click("#t-registries th:nth-child(5) button")
    falling = [int(value) for value in await column(page, "t-registries", 5)]
    await page.click("#t-registries th:nth-child(5) button")
    rising = [int(value) for value in await column(page, "t-registries", 5)]

    assert sorted(pods) == rising
    assert rising[::-1] == falling

    await page.click("#t-registries th:nth-child(1) button")
    names = await column(page, "t-registries", 1)

    assert sorted(names, key=str.lower) == names

    everything = await column(page, "t-workloads", 1)
    await page.fill('[data-for="t-workloads"] input', "team-07 PAUSE")
    some = await column(page, "t-workloads", 3)
    shown = await page.inner_text('[data-for="t-workloads"] output')

    assert {"registry.k8s.io/pause:3.10"} == set(some)
    assert f"{len(some)} of {len(everything)} rows" == shown

    await page.fill('[data-for="t-workloads"] input', "")
    await page.select_option('[data-for="t-workloads"] select[name=outcome]', "would-rewrite")

    assert "kept" not in await column(page, "t-workloads", 4)
    assert await column(page, "t-workloads", 4)

    await page.select_option('[data-for="t-workloads"] select[name=outcome]', "")
    await page.fill('[data-for="t-workloads"] input', "alert(1)")
    hostile = await column(page, "t-workloads", 3)

    assert ["<script>alert(1)</script>"] == hostile
    assert 1 == await page.locator("script").count()
    assert [] == page.trouble


async def test_the_page_is_seen_in_light_in_dark_and_on_paper(page):
    """Screenshots and a PDF are written to build/; dark really is dark, and paper has no tools."""
    BUILD.mkdir(exist_ok=True)
    background = "() => getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="light")
    light = await page.evaluate(background)
    clip = {"x": 0, "y": 0, "width": 1280, "height": 3600}
    await page.screenshot(path=BUILD / "audit-light.png", full_page=True, clip=clip)
    await page.emulate_media(color_scheme="dark")
    dark = await page.evaluate(background)
    await page.screenshot(path=BUILD / "audit-dark.png", full_page=True, clip=clip)

    assert "rgb(247, 248, 250)" == light
    assert "rgb(15, 20, 26)" == dark

    await page.fill('[data-for="t-workloads"] input', "team-07")
    await page.emulate_media(media="print", color_scheme="dark")
    tools = await page.locator(".tools").first.is_visible()
    paper = await page.evaluate(background)
    await page.set_viewport_size({"width": 794, "height": 1123})
    await page.screenshot(
        path=BUILD / "audit-print.png", full_page=True, clip={**clip, "width": 794}
    )
    await page.pdf(path=BUILD / "audit.pdf", format="A4")

    assert not tools
    assert "rgb(255, 255, 255)" == paper
    assert (BUILD / "audit.pdf").read_bytes().startswith(b"%PDF")
    assert [] == page.trouble


_OVERHANG = """() => [document.documentElement, ...document.querySelectorAll(".wide")].map(
    (element) => element.scrollWidth - element.clientWidth).filter((overhang) => overhang > 0)"""


@pytest.mark.parametrize(("width", "media"), [(390, "screen"), (688, "print")])
async def test_no_table_is_wider_than_a_telephone_or_than_paper(page, width, media):
    """Neither the page nor a table in it needs sideways scrolling, and none is cut off on paper."""
    await page.emulate_media(media=media)
    await page.set_viewport_size({"width": width, "height": 800})
    await page.screenshot(path=BUILD / f"audit-{media}-narrow.png")

    assert [] == await page.evaluate(_OVERHANG)
