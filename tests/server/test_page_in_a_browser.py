"""The page as people use it: a real Chromium, the real server, pico."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from faster_higgs.audio.files import read
from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs
from tests.server import conftest
from tests.server.conftest import RATE, Live, serving

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
DRIVER = which("chromedriver")
selenium = pytest.importorskip("selenium", reason="selenium is not installed")
if not (CHROMIUM and DRIVER):
    pytest.skip("there is no Chromium with its driver here", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

VIEWS = ("speak", "clone", "dialogue", "long", "voices", "history", "system")
TEXT = "The rain has stopped at last. The street is full of light. We walk home together."
FLAGS = (
    *("--headless=new", "--no-sandbox", "--window-size=1280,900", "--lang=en-US"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
)


until = partial(conftest.until, every=0.03)  # each question is work for three processes


class Page:
    """What a person sees and does."""

    def __init__(self, browser: webdriver.Chrome, live: Live) -> None:
        self.browser, self.live = browser, live

    def open(self, view: str = "speak") -> Page:
        self.browser.get("about:blank")
        self.browser.get(f"{self.live.url}/#{view}")
        until(lambda: self.run("return document.documentElement.dataset.started"))
        return self

    def run(self, script: str, *given: object) -> Any:
        return self.browser.execute_script(script, *given)

    def show(self, view: str) -> None:
        self.find(f"#tab-{view}").click()
        until(lambda: self.find(f"#view-{view}").is_displayed())

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def write(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        """Keys into whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def dock(self, name: str) -> str:
        script = "return document.getElementById('dock').dataset[arguments[0]] ?? ''"
        return str(self.run(script, name))

    def done(self) -> int:
        """Wait for a speech to be received; how many samples it has."""
        until(lambda: self.dock("making") in ("done", "failed", "stopped"), 60)
        assert self.dock("making") == "done", self.toasts()
        return int(self.dock("samples"))

    def toasts(self) -> str:
        return " ".join(one.text for one in self.all(".toast"))

    def says(self, words: str) -> None:
        """Wait for a sentence."""
        until(lambda: words in self.toasts())

    def voices(self) -> list[str]:
        return [row["id"] for row in self.live.ask("/v1/audio/voices").json["voices"]]


@pytest.fixture(scope="module")
def pico(tmp_path_factory) -> Iterator[Live]:
    own, jobs = tmp_path_factory.mktemp("voices"), tmp_path_factory.mktemp("jobs")
    with (
        Higgs.load(PACKAGED, device="cpu", voices=[own]) as higgs,
        serving(higgs, jobs_dir=str(jobs)) as live,
    ):
        yield live


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, pico) -> Iterator[Page]:
    """The page of pico's server; whatever the test did, the browser found nothing wrong."""
    browser.get_log("browser")
    yield Page(browser, pico).open()
    told = [row["message"] for row in browser.get_log("browser") if row["level"] == "SEVERE"]
    assert not [one for one in told if "Failed to load resource" not in one]


@pytest.fixture
def clip(pico, tmp_path) -> Path:
    path = tmp_path / "clara.wav"
    path.write_bytes(pico.ask("/v1/audio/voices/clara/sample").body)
    return path


def test_it_is_heard_while_it_is_made(page):
    page.write("#speak-text", TEXT)
    page.find("#speak-form [type=submit]").click()
    until(lambda: page.dock("heard"))
    assert page.dock("heard") == "while making"
    until(lambda: page.all(".utterance.now"))
    assert page.done() > 2 * RATE
    assert "".join(one.text for one in page.all(".utterance")).startswith("The rain")
    assert page.find("#stat-first").text.endswith("s") and page.find("#stat-seed").text.isdigit()
    assert float(page.find("#stat-factor").text) > 0
    painted = "const c = document.getElementById('dock-wave');"
    painted += "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    assert page.run(painted)


def test_it_is_heard_where_there_is_no_worklet(page):
    """As on pages over plain http from another machine."""
    page.run(
        "Object.defineProperty(BaseAudioContext.prototype, 'audioWorklet', {value: undefined})"
    )
    page.write("#speak-text", "The boat is here.")
    page.find("#speak-form [type=submit]").click()
    until(lambda: page.dock("heard"))
    samples = page.done()
    until(lambda: page.dock("state") == "over")
    assert float(page.find("#dock-wave").get_attribute("aria-valuenow")) == round(samples / RATE, 1)


def test_typing_asks_nothing_of_the_server(page):
    asked = "return performance.getEntriesByType('resource').map(one => one.name)"
    page.run("performance.clearResourceTimings()")
    page.write("#speak-text", TEXT)
    assert not [name for name in page.run(asked) if "/v1/" in name]


def test_keys_alone_speak_and_stop(page):
    """From the top of the page: tabs by arrows, the text, the button; Escape ends it."""
    page.run("localStorage.clear()")
    page.open("history")
    page.press(Keys.TAB)
    assert page.browser.switch_to.active_element.text == "Skip to the content"
    page.press(Keys.TAB)
    page.press(Keys.HOME)
    until(lambda: page.find("#view-speak").is_displayed())
    for _ in range(8):
        page.press(Keys.TAB)
        if page.run("return document.activeElement.id") == "speak-text":
            break
    page.press("One, two, three, four. " * 4)
    page.press(Keys.TAB, Keys.NULL)
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.type") == "submit"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) != "none"
    page.press(Keys.ENTER)
    until(lambda: page.dock("making") == "making")
    page.press(Keys.ESCAPE)
    until(lambda: page.dock("making") == "stopped")
    until(lambda: page.live.service.desk.running == 0)
    assert page.find("#status").get_attribute("textContent") == "Stopped."


def test_a_voice_is_cloned_from_a_file(page, clip):
    page.show("clone")
    page.find("#clone-file").send_keys(str(clip))
    until(lambda: "A good clip." in page.find("#clone-notes").text)
    page.write("#clone-words", "She asked whether the teacher had seen the keys.")
    page.write("#clone-text", "It is a quiet morning.")
    page.find("#clone-form [type=submit]").click()
    assert page.done() > RATE
    page.write("#clone-as", "My Voice")
    page.find("#clone-save").click()
    page.says("agrees")
    page.find("#clone-consent").click()
    page.find("#clone-save").click()
    page.says("My Voice was saved")
    assert "my-voice" in page.voices()
    page.show("voices")
    page.find("[data-voice=my-voice] .square").click()
    page.find("#ask-yes").click()
    until(lambda: "my-voice" not in page.voices())


def test_what_is_wrong_with_a_clip_is_told(page, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and nothing")
    page.show("clone")
    page.find("#clone-file").send_keys(str(broken))
    until(lambda: "cannot be read as sound" in page.find("#clone-notes").text)
    page.find("#clone-form [type=submit]").click()
    page.says("This clip cannot be used")


def test_a_recording_is_judged_like_a_file(page):
    """Chromium's own microphone beeps once a second."""
    page.show("clone")
    record = page.find("#clone-record")
    record.click()
    until(lambda: "0:01" in record.text)
    record.click()
    until(lambda: page.all("#clone-notes li:not(.wait)"))
    assert "recording ·" in page.find("#clone-name").text


def test_two_speak_and_it_is_found_and_made_again_the_same(page):
    page.show("dialogue")
    first, second = page.all("#turns textarea")
    first.send_keys("Is it far?")
    second.send_keys("Not at all.")
    second.send_keys(Keys.ALT, Keys.ARROW_UP)
    spoken = [area.get_attribute("value") for area in page.all("#turns textarea")]
    assert spoken == ["Not at all.", "Is it far?"]
    page.find("#dialogue-form [type=submit]").click()
    samples = page.done()
    names = [one.text.partition(":")[0] for one in page.all(".utterance")]
    assert names == ["Miles", "Clara"]
    page.show("history")
    until(lambda: page.all("#takes article"))
    newest = page.find("#takes article")
    assert "Dialogue" in newest.text and "Miles: Not at all." in newest.text
    newest.find_element(By.XPATH, ".//button[.='Again']").click()
    page.says("sample for sample")
    assert page.done() == samples


def test_a_take_becomes_a_voice_and_a_file(page, tmp_path):
    told = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", told)
    page.write("#speak-text", "This is how I sound today.")
    page.find("#speak-text").send_keys(Keys.CONTROL, Keys.ENTER)
    samples = page.done()
    until(lambda: page.find("#dock-download").is_displayed())
    page.find("#dock-download").click()
    until(lambda: list(tmp_path.glob("*.wav")))
    until(lambda: next(tmp_path.glob("*.wav")).stat().st_size == 44 + 2 * samples)
    assert len(read(next(tmp_path.glob("*.wav")))) == samples
    page.find("#dock-save").click()
    page.write("#ask-value", "today")
    page.find("#ask-yes").click()
    page.says("today was saved")
    assert "today" in page.voices()


def test_settings_are_sent_and_kept(page):
    page.write("#set-seed", "42")
    page.run(
        "const s = document.getElementById('set-speed'); s.value = 1;"
        "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.write("#speak-text", "Quickly now.")
    page.find("#speak-form [type=submit]").click()
    page.done()
    assert page.find("#stat-seed").text == "42"
    page.open()
    assert page.find("#set-seed").get_attribute("value") == "42"
    assert page.find("#set-speed-out").text == "2.00×"
    assert page.find("#speak-text").get_attribute("value") == "Quickly now."
    page.find("#set-reset").click()
    assert page.find("#set-speed-out").text == "1.00×"


def test_a_refusal_is_shown_as_a_sentence(page):
    page.write("#speak-text", "…")
    page.find("#speak-form [type=submit]").click()
    until(lambda: page.dock("making") == "failed")
    until(lambda: page.all(".toast.error"))
    page.find(".toast.error button").click()
    assert not page.all(".toast.error")


def test_it_speaks_two_languages_and_remembers_which(page):
    assert page.find("#view-speak h1").text == "Speak"
    page.run("document.getElementById('language').focus()")
    page.press("T")
    until(lambda: page.find("#view-speak h1").text == "Đọc văn bản")
    page.open()
    assert page.run("return document.documentElement.lang") == "vi"
    assert page.find("#tab-voices").text == "Giọng đọc"
    page.run("localStorage.removeItem('higgs.language')")


@pytest.mark.parametrize("language", ["en", "vi"])
def test_nothing_sticks_out_on_a_phone(page, language):
    page.run("localStorage.setItem('higgs.language', JSON.stringify(arguments[0]))", language)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open()
        for view in VIEWS:
            page.show(view)
            assert page.run("return document.documentElement.scrollWidth") <= 360, view
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.run("localStorage.removeItem('higgs.language')")


def test_themes_follow_the_system_or_the_switch(page):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    seen = []
    for wish in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": wish}]}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        seen.append(page.run(ground))
    page.find("#theme").click()
    assert page.run(ground) == seen[0] != seen[1]
    page.find("#theme").click()
    assert page.run(ground) == seen[1]
    page.run("localStorage.removeItem('higgs.theme')")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_long_text_is_made(page):
    page.show("long")
    page.write("#long-text", "A short chapter. It ends here.")
    page.find("#long-form [type=submit]").click()
    until(lambda: page.all(".job[data-status=done]"))
    assert "Sound" in page.find(".job").text
    page.find(".job .square").click()
    page.find("#ask-yes").click()
    until(lambda: not page.all(".job"))


def test_the_system_is_shown_live(page):
    page.show("system")
    until(lambda: "pico" in page.find("#facts").text or "fake-higgs" in page.find("#facts").text)
    assert page.find("#meter-queue .value").text == "0"
    until(lambda: page.find("#meter-memory .value").text.endswith("GB"))
    assert page.find("#meter-pages .value").text == "0 %"


def test_a_key_is_asked_for_and_kept_as_long_as_is_wished(browser):
    with FakeHiggs() as higgs, serving(higgs, api_keys=("a-good-key",)) as live:
        page = Page(browser, live)
        browser.get(live.url)
        until(lambda: page.find("#ask").is_displayed())
        for key in ("a-wrong-key", "a-good-key"):
            page.write("#ask-value", key)
            page.find("#ask-yes").click()
            if key == "a-wrong-key":
                until(lambda: "not accepted" in page.find("#ask-hint").text)
        until(lambda: len(page.all("#set-voice option")) > 1)
        kept = "return [sessionStorage.getItem('higgs.key'), localStorage.getItem('higgs.key')]"
        assert page.run(kept) == ["a-good-key", None]
