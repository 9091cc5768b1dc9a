"""Pictures of the page: docs/page.png; given a folder, every view in both themes and three widths.

Needs Chromium, and selenium of the `dev` extra. `--url` takes a server that runs; else one
is started.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "page.png"
VIEWS = ("speak", "clone", "dialogue", "long", "voices", "history", "system")
SIZES = ((1280, 820), (390, 844), (360, 740))
TEXT = (
    "The lighthouse keeper wrote a letter every evening. She never sent one of them. "
    "In spring the boat came, and with it a stranger who could read."
)
LINES = ("Did you hear that?", "It is only the wind in the old trees.")


@contextmanager
def served(url: str | None) -> Iterator[str]:
    """A server's URL."""
    if url:
        yield url
        return
    with TemporaryDirectory() as voices:
        command = [sys.executable, "-m", "faster_higgs", "serve", "--port", "0", "--ui-port", "0"]
        command += ["--voices-dir", voices]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.fullmatch("The page: (.*)\n", line):
                    yield found[1]
                    break
            else:
                raise SystemExit("The server did not start.")
        finally:
            process.terminate()
            process.wait()


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = which("chromium") or which("google-chrome") or ""
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--lang=en"):
        options.add_argument(flag)
    # A driver that is named is not looked for elsewhere.
    browser = webdriver.Chrome(options, webdriver.ChromeService(which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def until(true: Callable[[], object]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the page does not get there")
        time.sleep(0.05)


class Page:
    """The page in a browser."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        until(lambda: self.run("return document.documentElement.dataset.started"))
        self.size(*SIZES[0])

    def run(self, script: str, *arguments: object) -> object:
        return self.browser.execute_script(script, *arguments)

    def size(self, width: int, height: int) -> None:
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)

    def theme(self, name: str) -> None:
        script = "document.documentElement.dataset.theme = arguments[0];"
        self.run(f"{script} window.dispatchEvent(new Event('theme'))", name)

    def show(self, view: str) -> None:
        self.run("location.hash = arguments[0]; window.scrollTo(0, 0)", view)
        time.sleep(4.5 if view == "system" else 0.4)

    def dock(self, name: str) -> str:
        return str(self.run(f"return document.getElementById('dock').dataset.{name} ?? ''"))

    def speak(self) -> None:
        """Ask for the text, and let it play on when all of it is there."""
        field = self.browser.find_element(By.ID, "speak-text")
        field.send_keys(TEXT, Keys.CONTROL, Keys.ENTER)
        until(lambda: self.dock("making") == "done")
        heard = "return Number(document.getElementById('dock-wave').ariaValueNow)"
        until(lambda: float(str(self.run(heard))) > 3)

    def prepare(self) -> None:
        """Something in the views that would be empty."""
        self.show("dialogue")
        for field, line in zip(
            self.browser.find_elements(By.CSS_SELECTOR, "#turns textarea"), LINES, strict=True
        ):
            field.send_keys(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--url")
    asked = parser.parse_args()
    with served(asked.url) as url, chromium() as browser:
        page = Page(browser, url)
        page.theme("light")
        page.speak()
        if asked.folder is None:
            browser.save_screenshot(str(PICTURE))
            print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")
            return
        asked.folder.mkdir(parents=True, exist_ok=True)
        page.prepare()
        for width, height in SIZES:
            page.size(width, height)
            for theme in ("light", "dark"):
                page.theme(theme)
                for view in VIEWS:
                    page.show(view)
                    browser.save_screenshot(str(asked.folder / f"{view}-{width}-{theme}.png"))


if __name__ == "__main__":
    main()
