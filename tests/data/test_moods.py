"""How a sentence is meant and where it was said, by whole words."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from faster_higgs.data.moods import Moods, mood, packaged, scene, scene_line
from faster_higgs.errors import DataError
from faster_higgs.prompt.conversation import QUIET_ROOM, Setting
from tests.project.source import ROOT


@pytest.mark.parametrize(
    ("expected", "language", "text"),
    [
        ("questioning", "vi", "Bạn tên là gì?"),
        ("questioning", "vi", "Mấy giờ rồi"),
        ("questioning", "vi", "tại sao anh đến muộn"),
        ("questioning", "vi", "Anh hỏi: “Ai đó?”"),
        ("neutral", "vi", "Tôi biết tại sao."),
        ("neutral", "vi", "Tôi không bao giờ quên"),
        ("neutral", "vi", "Tôi không ăn cơm."),
        ("neutral", "vi", "Sao chép tệp này vào máy."),
        ("neutral", "vi", "Ngôi sao sáng"),
        ("neutral", "vi", "Cái đèn nào cũng sáng."),
        ("neutral", "vi", "Xin lỗi anh."),
        ("neutral", "vi", "Nhà sàn bên suối"),
        ("alerting", "vi", "Nguy hiểm, tránh xa ra"),
        ("alerting", "vi", "CẢNH BÁO: cháy rừng."),
        ("alerting", "vi", "Cẩn thận!"),
        ("neutral", "vi", "Nơi này không nguy hiểm."),
        ("affirming", "vi", "Đúng rồi, cảm ơn anh."),
        ("affirming", "vi", "Hay quá!"),
        ("neutral", "vi", "Tôi không đồng ý."),
        ("neutral", "vi", "Hôm nay trời nắng."),
        ("neutral", "vi", ""),
        ("questioning", "en", "why did you go"),
        ("neutral", "en", "Whatever you say."),
        ("neutral", "en", "The terror of the night."),
        ("alerting", "en", "Watch out, an error."),
        ("affirming", "en", "Yes, of course."),
        ("neutral", "en", "Yesterday it rained."),
        ("questioning", "zh", "你叫什么名字？"),
        ("questioning", "zh", "这是怎么回事"),
        ("neutral", "zh", "没什么"),
        ("alerting", "zh", "连接超时。"),
        ("affirming", "zh", "好的，明白了。"),
        ("neutral", "zh", "今天天气晴。"),
        ("questioning", "fr", "Ça va ?"),
        ("neutral", "fr", "nguy hiểm"),
        ("questioning", "vi-VN", "mấy giờ rồi"),
    ],
)
def test_a_mood(expected: str, language: str, text: str) -> None:
    assert mood(text, language) == expected


def test_every_word_is_found_however_it_is_written() -> None:
    for rule in packaged().moods:
        for language, words in rule.words.items():
            for word in words:
                for form in ("NFC", "NFD"):
                    assert mood(unicodedata.normalize(form, word.upper()), language) == rule.name


def test_no_word_is_found_inside_another() -> None:
    for rule in packaged().moods:
        for language in ("vi", "en"):
            for word in rule.words[language]:
                for inside in (re.sub(r"\b(?=\w)", "x", word), re.sub(r"\b(?<=\w)", "x", word)):
                    assert mood(inside, language) == "neutral", inside


@pytest.mark.parametrize("language", ["vi", "en", "zh"])
def test_what_is_spared_is_neutral(language: str) -> None:
    for rule in packaged().moods:
        for words in rule.exceptions.get(language, ()):
            assert mood(f"{words}.", language) == "neutral", words


def test_the_language_is_guessed_where_none_is_given() -> None:
    assert mood("Cẩn thận, ở đây nguy hiểm") == "alerting"


@pytest.mark.parametrize(
    ("expected", "language", "text", "path"),
    [
        ("", "vi", "Hôm nay trời nắng.", "wavs/a.wav"),
        ("phone_call", "vi", "", "data/phone_0012/a.wav"),
        ("phone_call", "zh", "请给我打电话", ""),
        ("phone_call", "vi", "A lô, ai đấy", "x.wav"),
        ("", "vi", "", "microphone/headphones.wav"),
        ("", "vi", "", "iphone.wav"),
        ("meeting_room", "en", "The meeting starts now.", ""),
        ("", "en", "Nice meetingplace.", ""),
        ("meeting_room", "zh", "会议开始", ""),
        ("recording_system", "zh", "请按键选择", ""),
        ("meeting_room", "en", "Thank you for calling.", "Meeting-03.flac"),
        ("studio", "vi", "", "studio/a.wav"),
    ],
)
def test_a_scene(expected: str, language: str, text: str, path: str) -> None:
    assert scene(text, path, language) == expected
    assert scene(unicodedata.normalize("NFD", text), Path(path), language) == expected


@pytest.mark.parametrize("name", ["", "unknown", "quiet_room", "Unknown", " quiet room "])
def test_no_scene_is_the_one_of_inference(name: str) -> None:
    assert scene_line(name) == QUIET_ROOM == Setting().scene


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("phone_call", "Audio is recorded from a phone call."),
        ("meeting room", "Audio is recorded from a meeting room."),
        ("open_office", "Audio is recorded from an open office."),
        ("Audio is recorded in a car.", "Audio is recorded in a car."),
    ],
)
def test_the_sentence_of_a_scene(name: str, line: str) -> None:
    assert scene_line(name) == line


def test_every_scene_has_a_sentence_that_a_prompt_takes() -> None:
    for rule in packaged().scenes:
        assert Setting(scene=scene_line(rule.name)).scene == rule.line


def test_rules_of_ones_own(tmp_path: Path) -> None:
    own = Moods.load(
        _file(
            tmp_path,
            {
                "moods": [{"name": "sad", "words": {"vi": ["Buồn"]}, "marks": ["…"]}],
                "scenes": [
                    {"name": "car", "line": "Audio is recorded in a car.", "paths": ["Car"]}
                ],
            },
        )
    )
    assert own.mood("tôi BUỒN quá", "vi") == own.mood("hmm...", "vi") == "sad"
    assert own.mood("đúng rồi!", "vi") == "neutral"
    assert own.scene("", "car/a.wav", "vi") == "car"
    assert own.scene_line("car") == "Audio is recorded in a car."


def test_the_rules_of_the_documents_are_some(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    shown = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
    found = Moods.load(_file(tmp_path, json.loads(shown)))
    assert found.mood("buồn cười", "vi") == "neutral" and found.mood("Buồn.", "vi") == "sad"
    assert found.scene_line("car") == "Audio is recorded in a car."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "it must hold moods and scenes"),
        ({"mood": []}, "it must hold moods and scenes"),
        ({"moods": {}}, "'moods' is not a list of rules"),
        ({"moods": [{"words": {}}]}, "moods[0] needs a name"),
        ({"moods": [{"name": "a b"}]}, "moods[0] needs a name"),
        ({"moods": [{"name": "a", "word": {}}]}, "unknown key 'word'"),
        ({"moods": [{"name": "a", "paths": []}]}, "unknown key 'paths'"),
        ({"moods": [{"name": "a"}, {"name": "a"}]}, "two rules named 'a'"),
        ({"moods": [{"name": "a", "words": ["x"]}]}, "by language"),
        ({"moods": [{"name": "a", "words": {"vi": "x"}}]}, "a list of texts"),
        ({"moods": [{"name": "a", "words": {"vi": [""]}}]}, "a list of texts"),
        ({"moods": [{"name": "a", "unless_ended": 3}]}, "'unless_ended'"),
        ({"scenes": [{"name": "a", "line": 3}]}, "a 'line' that is no text"),
    ],
)
def test_bad_rules_are_refused_in_a_sentence(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(DataError) as refused:
        Moods.load(_file(tmp_path, content))
    assert said in str(refused.value) and "rules.json" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{", b""])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rules.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rules\.json"):
        Moods.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        Moods.load(tmp_path / "none.json")


def _file(folder: Path, content: object) -> Path:
    path = folder / "rules.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
