"""Every field and alias of a RunPod job, and what it becomes."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from faster_higgs.delivery import Delivery
from faster_higgs.deploy.payload import OF_JOB, OF_REFERENCE, Defaults, JobBody, asked_of
from faster_higgs.errors import HiggsError
from faster_higgs.fetch import Elsewhere
from faster_higgs.server.errors import Refusal
from faster_higgs.server.settings import ServerSettings

CLIP = base64.b64encode(b"a clip").decode()
URI = f"data:audio/wav;base64,{CLIP}"
SAID = {"transcript": "What is said."}
DEFAULTS = Defaults(ServerSettings(default_response_format="wav"))
QUIET = "Generate audio following instruction.\n\n<|scene_desc_start|>\nQuiet.\n<|scene_desc_end|>"


def asked(defaults=DEFAULTS, **given):
    return asked_of(given, defaults)


def order(defaults=DEFAULTS, **given):
    return asked(defaults, **({"script": "Hello."} | given)).order


def refused(defaults=DEFAULTS, **given) -> str:
    with pytest.raises((Refusal, HiggsError)) as found:
        asked(defaults, **given)
    return getattr(found.value, "message", str(found.value))


@pytest.mark.parametrize("name", OF_JOB["script"])
def test_the_script(name):
    assert asked(**{name: "Hello."}).order.text == "Hello."
    assert asked(**{name: "Hello.", "script": "Hello."}).order.text == "Hello."


def test_two_scripts_that_differ():
    assert refused(script="One.", prompt="Two.") == "script and prompt differ; give one of them."


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ({"temperature": 0.7}, "sampling.temperature", 0.7),
        ({"temperature": "0.7"}, "sampling.temperature", 0.7),
        ({"top_p": 0.8}, "sampling.top_p", 0.8),
        ({"top_k": 20}, "sampling.top_k", 20),
        ({"top_k": 0}, "sampling.top_k", 0),
        ({"top_k": None}, "sampling.top_k", 0),
        ({"top_k": ""}, "sampling.top_k", 0),
        ({}, "sampling.top_k", 50),
        ({"max_new_tokens": 300}, "sampling.max_new_tokens", 300),
        ({"seed": 7}, "sampling.seed", 7),
        ({"ras_win_len": 5}, "sampling.ras_window", 5),
        ({"ras_win_len": 0}, "sampling.ras_window", 0),
        ({"ras_win_len": -1}, "sampling.ras_window", 0),
        ({"ras_win_len": None}, "sampling.ras_window", 0),
        ({"ras_win_max_num_repeat": 3}, "sampling.ras_repeats", 3),
        ({"response_format": "flac"}, "format", "flac"),
        ({"response_format": "mp3"}, "format", "mp3"),
        ({"response_format": ""}, "format", "wav"),
        ({"voice": "alice"}, "voice", "alice"),
        ({"speed": 1.5}, "speed", 1.5),
        ({"sample_rate": 16000}, "rate", 16000),
        ({"language": "German"}, "delivery.language", "de"),
        ({"normalization": "off"}, "delivery.normalization", "off"),
        ({"timeout": 9}, "delivery.deadline", 9),
        ({"stream": True}, "mode", "audio"),
        ({"stream": False}, "mode", "whole"),
        ({"scene_prompt": "A market."}, "delivery.scene", "A market."),
        ({"system_prompt": "Speak."}, "delivery.system", "Speak."),
        ({"script_speaker_tag": "SPEAKER1"}, "text", "[SPEAKER1] Hello."),
        ({"script_speaker_tag": " [SPEAKER1] "}, "text", "[SPEAKER1] Hello."),
        ({"force_audio_gen": True}, "text", "Hello."),
        ({"stop_strings": "<|eot_id|>"}, "text", "Hello."),
        ({"stop_strings": ["<|eot_id|>", "<|end_of_text|>"]}, "text", "Hello."),
    ],
)
def test_a_field_becomes_a_setting(given, path, value):
    found = order(**given)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_without_a_seed_one_is_drawn():
    assert order(seed="").sampling.seed is not None
    assert order().sampling.seed != order().sampling.seed


class TestReferences:
    @pytest.mark.parametrize("sound", [CLIP, URI])
    @pytest.mark.parametrize("name", OF_REFERENCE["audio_base64"])
    def test_a_clip_that_was_sent(self, name, sound):
        (clip,) = order(references=[{name: sound, **SAID}]).clips
        assert clip.data(Elsewhere()) == b"a clip" and clip.text == "What is said."

    def test_one_object_is_a_list_of_one(self):
        assert len(order(references={"base64": CLIP, **SAID}).clips) == 1

    @pytest.mark.parametrize("name", OF_REFERENCE["transcript"])
    def test_what_is_said_in_it(self, name):
        assert order(references=[{"base64": CLIP, name: "So."}]).clips[0].text == "So."

    @pytest.mark.parametrize("tag", OF_REFERENCE["speaker_tag"])
    def test_tags_say_whose_it_is(self, tag):
        found = order(
            script="[SPEAKER0] One. [SPEAKER1] Two.",
            references=[
                {"base64": CLIP, "text": "Second.", tag: "SPEAKER1"},
                {"base64": CLIP, "text": "First.", tag: "[SPEAKER0]"},
            ],
        )
        assert [clip.text for clip in found.clips] == ["First.", "Second."]

    def test_one_tagged_reference_speaks_a_script_without_tags(self):
        assert order(references=[{"base64": CLIP, "text": "A.", "speaker": "SPEAKER0"}]).clips

    @pytest.mark.parametrize("many", [True, False])
    @pytest.mark.parametrize("name", OF_JOB["reference_audio_base64"])
    @pytest.mark.parametrize("said", OF_JOB["reference_transcripts"])
    def test_the_shortcuts(self, name, said, many):
        given = {name: [CLIP], said: ["So."]} if many else {name: CLIP, said: "So."}
        (clip,) = order(**given).clips
        assert clip.data(Elsewhere()) == b"a clip" and clip.text == "So."

    @pytest.mark.parametrize("tag", OF_JOB["reference_speaker_tags"])
    def test_shortcuts_belong_together_by_their_place(self, tag):
        found = order(
            script="[SPEAKER0] One. [SPEAKER1] Two.",
            reference_audio_base64=[CLIP, URI],
            reference_transcripts=["B.", "A."],
            **{tag: ["SPEAKER1", "SPEAKER0"]},
        )
        assert [clip.text for clip in found.clips] == ["A.", "B."]

    @pytest.mark.parametrize("name", OF_JOB["reference_audio_urls"])
    def test_an_address_is_not_fetched_unasked(self, name):
        told = refused(script="Hi.", reference_transcript="A.", **{name: "https://x.example/a.wav"})
        assert "Addresses are not fetched" in told

    @pytest.mark.parametrize("name", OF_REFERENCE["audio_url"])
    def test_an_address_inside_a_reference_neither(self, name):
        assert "Addresses are not fetched" in refused(
            script="Hi.", references=[{name: "http://127.0.0.1/a.wav", **SAID}]
        )

    @pytest.mark.parametrize("name", OF_REFERENCE["file_extension"])
    def test_an_extension_is_not_needed(self, name):
        found = asked(script="Hi.", references=[{"base64": CLIP, name: "mp3", **SAID}])
        assert found.ignored == ("file_extension",)

    @pytest.mark.parametrize("name", OF_JOB["reference_file_extensions"])
    def test_nor_beside_a_shortcut(self, name):
        given = {name: ".wav", "reference_audio_base64": CLIP, "reference_transcript": "A."}
        assert asked(script="Hi.", **given).ignored == ("file_extension",)

    def test_a_transcript_is_never_invented(self):
        assert refused(script="Hi.", references=[{"base64": CLIP}]) == (
            "Reference 1 has no transcript; write what is said in it, word for word."
        )

    def test_transcripts_are_given_back(self):
        assert asked(script="Hi.", references={"base64": CLIP, "text": "A."}).transcripts == ("A.",)


class TestElsewhere:
    """What may be fetched, and how, is tests/test_fetch.py's."""

    @pytest.fixture
    def media(self, tmp_path: Path) -> Defaults:
        folder = tmp_path / "media"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.wav").write_bytes(b"a clip")
        (tmp_path / "secret.wav").write_bytes(b"not yours")
        (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
        return Defaults(ServerSettings(), Elsewhere(folder=folder))

    @pytest.mark.parametrize("name", OF_REFERENCE["path"])
    def test_a_file_in_the_folder_is_read(self, media, name):
        (clip,) = order(media, references=[{name: "deep/a.wav", **SAID}]).clips
        assert clip.data(Elsewhere()) == b"a clip"

    @pytest.mark.parametrize("name", OF_JOB["reference_audio_paths"])
    def test_by_its_whole_path_too(self, media, name):
        path = str(media.elsewhere.folder / "deep" / "a.wav")
        given = {name: [path], "reference_transcripts": ["A."]}
        assert order(media, **given).clips[0].data(Elsewhere()) == b"a clip"

    @pytest.mark.parametrize(
        "path", ["../secret.wav", "link.wav", "/etc/passwd", "deep", "none.wav"]
    )
    def test_no_other_is(self, media, path):
        told = refused(media, script="Hi.", references=[{"path": path, **SAID}])
        assert told.startswith("That file is not in the folder that is allowed")

    def test_without_a_folder_none_is_read(self):
        told = refused(script="Hi.", references=[{"path": "a.wav", **SAID}])
        assert told == "Files of this machine are not read; send the clip itself."

    @pytest.mark.parametrize(
        "given", [{"path": "http://x.example/a.wav"}, {"audio_url": "deep/a.wav"}]
    )
    def test_an_address_is_no_path(self, media, given):
        told = refused(media, script="Hi.", references=[given | SAID])
        assert told == "audio_url is for addresses, path for files."

    @pytest.mark.parametrize("given", [{}, {"download_timeout": 3.0}])
    def test_an_address_is_fetched_by_the_rules(self, given):
        asked_for: list[tuple[str, float]] = []

        class Rules(Elsewhere):
            def read(self, place: str) -> bytes:
                asked_for.append((place, self.seconds))
                return b"a clip"

        defaults = Defaults(ServerSettings(), Rules(web=True))
        place = "https://x.example/a.wav"
        (clip,) = order(defaults, reference_audio=place, reference_transcript="A.", **given).clips
        assert clip.data(Elsewhere()) == b"a clip"
        assert asked_for == [(place, given.get("download_timeout", 30.0))]


class TestMessages:
    def test_the_last_is_spoken_and_the_others_come_before(self):
        found = order(
            script="",
            messages=[
                {"role": "system", "content": "Speak."},
                {"role": "user", "content": ["Good ", {"type": "text", "text": "day."}]},
                {"role": "assistant", "content": "Good day."},
                {"role": "user", "content": {"text": "How are you?"}},
            ],
        )
        assert found.text == "How are you?" and found.delivery.system == "Speak."
        assert found.delivery.earlier == (("user", "Good day."), ("assistant", "Good day."))

    def test_a_script_comes_after_them(self):
        found = order(messages=[{"role": "user", "content": "Before."}])
        assert found.text == "Hello." and found.delivery.earlier == (("user", "Before."),)

    @pytest.mark.parametrize(
        ("messages", "told"),
        [
            ("Hello", "'messages' must be an array of message objects."),
            (["Hello"], "'messages' must be an array of message objects."),
            ([{"content": "Hi."}], "Message 0 has no 'role'."),
            ([{"role": "user", "content": [{"type": "audio"}]}], "clips belong into 'references'"),
            ([{"role": "user", "content": {"type": "input_audio"}}], "of type 'input_audio'"),
            ([{"role": "assistant", "content": "Hi."}], "The last message must be a user's"),
            ([{"role": "tool", "content": "Hi."}], "role 'tool'"),
            ([{"role": "user"}], "'messages.0.content' is missing."),
        ],
    )
    def test_what_is_no_conversation(self, messages, told):
        assert told in refused(messages=messages)

    def test_two_system_messages(self):
        told = refused(
            system_prompt="A.", script="Hi.", messages=[{"role": "system", "content": "B."}]
        )
        assert "leave one of them out" in told


class TestScenes:
    @pytest.mark.parametrize(
        ("system", "expected"),
        [
            (QUIET, QUIET.replace("Quiet.", "A market.")),
            (f"{QUIET}\nSlowly.", f"{QUIET}\nSlowly.".replace("Quiet.", "A market.")),
            ("Speak.", "Speak.\n\n<|scene_desc_start|>\nA market.\n<|scene_desc_end|>"),
        ],
    )
    def test_a_scene_takes_the_place_of_one_that_is_there(self, system, expected):
        found = order(system_prompt=system, scene_prompt="A market.").delivery
        assert (found.system, found.deadline) == (expected, 600)
        defaults = Defaults(ServerSettings(default_system_prompt=system))
        assert order(defaults, scene_prompt="A market.").delivery.system == expected

    def test_a_job_s_own_system_prompt_goes_before_the_operator_s(self):
        defaults = Defaults(ServerSettings(default_system_prompt="Theirs."))
        assert order(defaults).delivery.system == "Theirs."
        assert order(defaults, system_prompt="Mine.").delivery.system == "Mine."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "'script'"),
        ({"script": "  "}, "'script'"),
        ({"script": "Hi.", "nosuch": 1}, "There is no parameter 'nosuch'."),
        ({"script": "Hi.", "response_format": "wma"}, "wma"),
        ({"script": "Hi.", "temperature": "hot"}, "temperature: "),
        ({"script": "Hi.", "temperature": -1}, "temperature is -1"),
        ({"script": "Hi.", "max_new_tokens": 100_000}, "at most 8192"),
        ({"script": "x" * 5000}, "script has 5,000 characters"),
        ({"script": "Hi.", "stop_strings": ["the end"]}, "Speech cannot stop at a text"),
        ({"script": "Hi.", "force_audio_gen": False}, "always speaks"),
        ({"script": "Hi.", "script_speaker_tag": "Ann"}, "script_speaker_tag is 'Ann'"),
        ({"script": "Hi.", "references": [{"text": "A."}]}, "Reference 1 needs one of"),
        (
            {"script": "Hi.", "references": [{"url": "nowhere", **SAID}]},
            "audio_url is for addresses",
        ),
        ({"script": "Hi.", "reference_audio": ["https://x.example/a"] * 9}, "at most 8 are read"),
        ({"script": "Hi.", "download_timeout": 0}, "download_timeout is 0"),
        ({"script": "Hi.", "references": "clip"}, "references.0"),
        ({"script": "Hi.", "references": [{"base64": CLIP, "nosuch": 1}]}, "references.0.nosuch"),
        (
            {"script": "Hi.", "references": {"base64": CLIP, "path": "a", **SAID}},
            "Reference 1 needs one of",
        ),
        (
            {
                "script": "Hi.",
                "references": {"base64": CLIP, **SAID},
                "reference_audio_base64": CLIP,
            },
            "leave one of them out",
        ),
        (
            {
                "script": "[SPEAKER0] Hi.",
                "references": {"base64": CLIP, "speaker": "SPEAKER1", **SAID},
            },
            "tagged [SPEAKER1]; the script has [SPEAKER0]",
        ),
    ],
)
def test_what_is_refused(given, told):
    assert told in refused(**given)


@pytest.mark.parametrize("given", [None, "text", [1]])
def test_a_job_without_input(given):
    with pytest.raises(Refusal) as found:
        asked_of(given, DEFAULTS)
    assert found.value.message.startswith("The job has no input")


def test_a_limit_in_seconds_without_an_address_is_told_as_useless():
    assert asked(script="Hi.", download_timeout=5).ignored == ("download_timeout",)


def test_no_field_is_forgotten_here():
    text = Path(__file__).read_text(encoding="utf-8") + str(OF_JOB) + str(OF_REFERENCE)
    elsewhere = {"return_audio_tokens", "return_text_tokens"}  # test_runpod.py
    elsewhere |= {"min_p", "max_tokens"}  # of the HTTP API, by the same code
    assert {
        name for name in JobBody.model_fields if f'{name}"' not in text and f"'{name}'" not in text
    } <= elsewhere


def test_turns_that_came_before_can_be_kept_as_json():
    kept = Delivery(earlier=(("user", "Hello."),))
    assert Delivery(**json.loads(json.dumps(asdict(kept)))) == kept and hash(kept)
