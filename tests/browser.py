"""A real headless Chromium, and pages of it that fail their test on any console error or request to another host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
TIMEOUT_MS = 15_000
# Chromium does not tell what a form with a file in it held: the page itself is asked.
_KEEP_FORMS = """
    window.sent = [];
    const real = window.fetch;
    window.fetch = (path, options = {}) => {
        if (options.body instanceof FormData) {
            const fields = [...options.body].filter(([, value]) => typeof value === "string");
            window.sent.push({ path, fields });
        }
        return real(path, options);
    };
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The installed browser; nothing is downloaded. Skips without one, or fails where NEARPOSE_REQUIRE_BROWSER=1."""
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if path is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium)"
        if os.environ.get("NEARPOSE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Browser, url: str, *, expected: tuple[str, ...] = (), routes=None, **context) -> Iterator[Page]:
    """A page at ``url``; ``routes`` are requests, by pattern, that a handler answers.

    Afterwards nothing may have gone wrong in it but loading what ends in one of ``expected``.
    """
    faults: list[str] = []
    options = {"viewport": DESKTOP, "reduced_motion": "reduce"} | context
    with contextlib.closing(browser.new_context(**options)) as opened:
        page = opened.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: faults.extend(_complaint(message, expected)))
        page.on("request", lambda request: faults.extend(_elsewhere(request.url, url)))
        page.add_init_script(_KEEP_FORMS)
        for pattern, handler in (routes or {}).items():
            page.route(pattern, handler)
        page.goto(url)
        yield page
    assert not faults, "\n".join(faults)


def _complaint(message, expected: tuple[str, ...]) -> list[str]:
    if message.type not in ("error", "warning") or message.location["url"].endswith(expected or ("\n",)):
        return []
    return [f"{message.type}: {message.text} ({message.location['url']})"]


def _elsewhere(asked: str, url: str) -> list[str]:
    parts = urlsplit(asked)
    return [] if parts.scheme in ("data", "blob") or parts.netloc == urlsplit(url).netloc else [f"asked {asked}"]


def answer_after(page: Page, action, path: str = "/pose"):
    """What ``action`` makes the page ask: the answer, and the form's text fields, those of JSON read."""
    with page.expect_response(lambda response: _is_post(response.request, path)) as got:
        action()
    return got.value.json(), fields_of(page, path)


def _is_post(request, path: str) -> bool:
    return request.url.endswith(path) and request.method == "POST"


def fields_of(page: Page, path: str) -> dict:
    """The text fields of the last form that was sent to ``path``."""
    sent = page.evaluate("(path) => window.sent.findLast((form) => `/${form.path}`.endsWith(path)).fields", path)
    return {name: json.loads(text) if text[0] in "[{" else text for name, text in sent}
