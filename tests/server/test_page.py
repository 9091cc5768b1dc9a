"""The page as files: what is sent with them, that they lack nothing and fetch nothing elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

import pytest

from faster_higgs.sampling import Sampling
from faster_higgs.server.page import FOLDER, POLICY, TYPES, assets
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import serving

FILES = sorted(assets())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
WORDS = {code: json.loads(assets()[f"i18n/{code}.json"].data) for code in ("en", "vi")}
INDEX = assets()["index.html"].data.decode()
SOURCE = {name: assets()[name].data.decode() for name in SCRIPTS}


def used_keys() -> set[str]:
    """Every key that the markup or a script names."""
    found = set(re.findall(r'data-i18n(?:-\w+)?="([\w.]+)"', INDEX))
    for text in SOURCE.values():
        found |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', text)) & WORDS["en"].keys()
        found |= set(re.findall(r'\bt\("([\w.]+)"', text))
    return found


def families() -> set[str]:
    """Beginnings of keys whose ends are chosen while the page runs."""
    return {
        one
        for text in SOURCE.values()
        for one in re.findall(r"\b(?:t|known)\(`([a-z]+)\.\$\{", text)
    }


class TestSent:
    @pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
    def test_every_file_has_its_type_and_the_policy(self, live, path):
        reply = live.ask(path)
        suffix = PurePosixPath(path).suffix or ".html"
        assert reply.status == 200 and reply.body
        assert reply.headers["content-type"] == TYPES[suffix]
        assert reply.headers["content-security-policy"] == POLICY
        assert reply.headers["x-content-type-options"] == "nosniff"

    def test_the_policy_allows_nothing_inline_nothing_elsewhere_and_no_frame(self):
        assert "default-src 'none'" in POLICY and "frame-ancestors 'none'" in POLICY
        assert "unsafe" not in POLICY and "http" not in POLICY and "*" not in POLICY

    def test_a_file_that_is_known_is_not_sent_again(self, live):
        first = live.ask("/")
        again = live.ask("/", headers={"If-None-Match": f"W/{first.headers['etag']}"})
        assert (again.status, again.body) == (304, b"")
        assert live.ask("/", headers={"If-None-Match": '"another"'}).status == 200

    @pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/app.py", "js"])
    def test_nothing_else_is_sent(self, live, path):
        assert live.ask(f"/page/{path}").status == 404

    def test_head_has_no_body(self, live):
        reply = live.ask("/", method="HEAD")
        assert reply.status == 200 and reply.body == b""

    def test_the_page_knows_defaults_and_limits(self, live):
        told = live.ask("/page/settings.json").json
        assert told["defaults"]["temperature"] == Sampling().temperature
        assert told["max_text_chars"] == 4096 and not told["key_needed"]
        assert {"wav", "mp3", "opus"} <= {*told["formats"]}

    def test_with_keys_the_page_comes_without_one_and_the_rest_does_not(self):
        with FakeHiggs() as higgs, serving(higgs, api_keys=("a-good-key",)) as server:
            assert server.ask("/").status == 200
            assert server.ask("/page/js/main.js").status == 200
            assert server.ask("/page/settings.json").json["key_needed"]
            assert server.ask("/v1/audio/voices").status == 401
            assert server.ask("/pages").status == 401
            assert server.ask("/page/../v1/audio/voices").status in (401, 404)


class TestFiles:
    def test_all_that_lies_there_is_sent(self):
        there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*")}
        assert there == set(FILES)

    @pytest.mark.parametrize("name", FILES)
    def test_no_file_names_a_place_elsewhere(self, name):
        text = assets()[name].data.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text)

    def test_the_markup_has_no_script_or_style_inline(self):
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", INDEX)

    def test_scripts_write_no_markup(self):
        words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        assert not [name for name in SCRIPTS if any(word in SOURCE[name] for word in words)]

    def test_what_files_name_is_there(self):
        texts = [INDEX, *SOURCE.values()]
        texts += [one.data.decode() for name, one in assets().items() if name.endswith(".css")]
        named = {path for text in texts for path in re.findall(r"/page/([\w./-]+\.\w+)", text)}
        assert named - {"settings.json"} <= set(FILES)
        icons = set(re.findall(r'id="(\w+)"', assets()["icons.svg"].data.decode()))
        assert set(re.findall(r"icons\.svg#(\w+)", INDEX)) <= icons

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_imports_lead_to_names_that_are_exported(self, name):
        folder = (FOLDER / name).parent
        for names, path in re.findall(r"import \{([^}]+)\} from \"([^\"]+)\"", SOURCE[name]):
            target = (folder / path).resolve().relative_to(FOLDER.resolve()).as_posix()
            for one in (part.split(" as ")[0].strip() for part in names.split(",") if part.strip()):
                start = rf"export (async )?(function\*?|const|let|class) {re.escape(one)}[\s(]"
                assert re.search(start, SOURCE[target]), f"{name}: {one} is not in {target}"


class TestWords:
    def test_both_languages_have_the_same_keys_and_no_empty_words(self):
        assert WORDS["en"].keys() == WORDS["vi"].keys()
        assert all(word.strip() for words in WORDS.values() for word in words.values())

    def test_both_languages_fill_in_the_same_things(self):
        one, other = (
            {key: set(re.findall(r"\{\w+\}", word)) for key, word in words.items()}
            for words in WORDS.values()
        )
        assert one == other

    def test_every_key_that_is_used_has_words(self):
        assert used_keys() <= WORDS["en"].keys()

    def test_every_key_is_used(self):
        ends = used_keys()
        assert not {k for k in WORDS["en"] if k not in ends and k.split(".")[0] not in families()}

    def test_every_family_has_words(self):
        assert families() <= {key.split(".")[0] for key in WORDS["en"]}
