"""Every flag of `higgs say`: its names, what it asks the model for, and its page of help."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest

from faster_higgs import speech
from faster_higgs.audio.save import save
from faster_higgs.checkpoint.choice import Wish
from faster_higgs.checkpoint.plan import Held
from faster_higgs.cli import say
from faster_higgs.cli.flags import OF_DELIVERY, OF_SAMPLING, SayFlags, facts
from faster_higgs.cli.main import build, main
from faster_higgs.cli.request import request
from faster_higgs.cli.scenes import SCENES
from faster_higgs.delivery import Delivery
from faster_higgs.errors import SettingError
from faster_higgs.native.kernels import Found
from faster_higgs.sampling import Sampling
from faster_higgs.testing import FakeHiggs, spoken, tones

# Every flag of the original's two scripts, with a value where it takes one.
ORIGINALS = """
    --model_path=M --audio_tokenizer=C --output=x.wav -o=x.wav --temperature=0.3 --top_k=50
    --top_p=0.95 --max_new_tokens=2048 --seed=1 --ref_audio=belinda --scene_prompt=quiet_indoor
    --device=cpu --use_static_kv_cache --no_quantization --quantization_bits=4
    --chunk_method=none --chunk_max_word_num=200 --verbose -v --transcript=T
    --ref_audio_in_system_message --chunk_max_num_turns=1 --generation_chunk_buffer_size=2
    --ras_win_len=7 --ras_win_max_num_repeat=2 --device_id=0 --out_path=x.wav
    --use_static_kv_cache=1
""".split()


@pytest.fixture
def parsed(monkeypatch):
    """The flags that a command line gives."""

    def parse(*arguments):
        seen = []
        monkeypatch.setattr(say, "run", seen.append)
        assert main(["say", *map(str, arguments)]) == 0
        return seen[0]

    return parse


def asked(parsed, *arguments):
    return request(parsed("Hello.", *arguments))


def words(flag):
    name, *value = flag.split("=")
    return [name, *value]


@pytest.mark.parametrize("flag", ORIGINALS)
def test_the_originals_flags_are_taken_in_both_spellings(parsed, fake, flag):
    text = [] if "transcript" in flag else ["Hello."]
    name, *value = words(flag)
    dashed = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
    assert parsed(*text, name, *value) == parsed(*text, dashed, *value) != parsed(*text)
    assert parsed(name, *value, *text) == parsed(*text, name, *value)
    assert request(parsed(*text, name, *value)).text


def test_every_flag_is_taken_in_both_spellings(parsed):
    command = build().get_command(None, "say")
    for param in command.params:
        for name in param.opts:
            if "-" in name[2:]:
                value = [] if param.metavar is None else ["1"]
                other = "--" + name[2:].replace("-", "_")
                assert parsed("Hi", name, *value) == parsed("Hi", other, *value) != parsed("Hi")


def test_after_two_dashes_everything_is_text(parsed):
    assert parsed("--", "--top_k").text == "--top_k"
    assert parsed("--", "--use_static_kv_cache").text == "--use_static_kv_cache"


@pytest.mark.parametrize("name", ["--use_static_kv_cache", "--use-static-kv-cache"])
def test_the_static_cache_may_have_a_value_or_none(parsed, name):
    assert parsed(name, "Hello.").text == parsed("Hello.", name).text == "Hello."
    assert parsed("Hello.", name, "0").use_static_kv_cache == 0
    assert parsed("Hello.", name).use_static_kv_cache == 1
    assert "managed automatically" in asked(parsed, name).notes[0]


def test_what_is_not_given_is_as_the_python_interface_has_it(parsed):
    found = asked(parsed)
    assert found.sampling == Sampling() and found.delivery == Delivery()
    assert found.device == "auto" and found.voices == ()


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ("--temperature 0.7", {"temperature": 0.7}),
        ("--top_k 0", {"top_k": 0}),
        ("--top_p 0.5", {"top_p": 0.5}),
        ("--min_p 0.1", {"min_p": 0.1}),
        ("--seed -3", {"seed": -3}),
        ("--ras_win_len 3", {"ras_window": 3}),
        ("--ras_win_len -1", {"ras_window": 0}),
        ("--ras_win_max_num_repeat 0", {"ras_repeats": 0}),
        ("--max_new_tokens 99", {"max_new_tokens": 99}),
        ("--rules original", {"rules": "original"}),
    ],
)
def test_a_flag_of_sampling(parsed, arguments, changes):
    assert asked(parsed, *arguments.split()).sampling == replace(Sampling(), **changes)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ("--normalization off", {"normalization": "off"}),
        ("--system_prompt 'Speak low.'", {"system": "Speak low."}),
        ("--ref_audio_in_system_message", {"voices_in_system": True}),
        ("--scene_prompt empty", {"scene": None}),
        ("--scene_prompt ''", {"scene": None}),
        ("--scene_prompt quiet_indoor", {}),
        ("--scene_prompt studio", {"scene": SCENES["studio"]}),
        ("--scene_prompt 'In a cave.'", {"scene": "In a cave."}),
        ("--chunk_method none", {"chunk_method": "none"}),
        ("--chunk_method word", {"chunk_method": "word"}),
        ("--chunk_max_word_num 30", {"max_words": 30}),
        ("--chunk_max_num_turns 2", {"max_turns": 2}),
        ("--generation_chunk_buffer_size 0", {"history": 0}),
    ],
)
def test_a_flag_of_the_delivery(parsed, arguments, changes):
    assert asked(parsed, *shlex.split(arguments)).delivery == replace(Delivery(), **changes)


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        ("--chunk_max_num_turns 2", True),
        ("--chunk_max_num_turns 2 --chunk_method speaker", False),
        ("--chunk_max_word_num 9 --chunk_method none", True),
        ("--chunk_max_word_num 9", False),
        ("--generation_chunk_buffer_size 1", True),
        ("--generation_chunk_buffer_size 1 --chunk_method word", False),
    ],
)
def test_a_flag_that_the_chunk_method_does_not_ask_for_is_told(parsed, arguments, noted):
    notes = asked(parsed, *arguments.split()).notes
    assert [
        note.startswith(f"Note: {arguments.split()[0].replace('_', '-')}") for note in notes
    ] == ([True] if noted else [])


def test_a_scene_may_be_in_a_file(parsed, here):
    (here / "scene.txt").write_text("Under water.\n")
    assert asked(parsed, "--scene_prompt", "scene.txt").delivery.scene == "Under water."


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        ("", "auto"),
        ("--device none", "cpu"),
        ("--device cuda:1", "cuda:1"),
        ("--device_id 2", "cuda:2"),
        ("--device cuda --device_id 0", "cuda:0"),
        ("--device mps", "mps"),
        ("--no_quantization", "auto"),
    ],
)
def test_a_flag_of_the_device(parsed, arguments, device):
    assert asked(parsed, *arguments.split()).device == device


@pytest.mark.parametrize(
    ("arguments", "wish"),
    [
        ("", Wish()),
        ("--precision full", Wish(Held())),
        ("--precision int8", Wish(Held("int8", "int8"))),
        ("--precision int4 --text_precision int8", Wish(Held("int4", "int8"))),
        ("--text-precision host", Wish(Held(None, "host"))),
        ("--precision auto", Wish(automatic=True)),
        ("--quantization_bits 4", Wish(Held("int4", "int4"))),
        ("--quantization_bits 8 --precision int8", Wish(Held("int8", "int8"))),
        ("--no_quantization", Wish(Held())),
        ("--no_quantization --quantization_bits 4", Wish(Held())),
        ("--max-memory 8GB --context 2000", Wish(memory=8_000_000_000, context=2000)),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_flag_of_memory_and_precision_means_the_same_everywhere(
    parsed, fake, device, arguments, wish
):
    assert asked(parsed, *arguments.split(), "--device", device).wish == wish


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--precision int3", "use one of full, int8, int4, fp8, auto"),
        ("--text_precision auto", "use one of full, int8, int4, fp8, host"),
        ("--precision int8 --quantization_bits 4", "means --precision int4, but"),
        ("--precision auto --quantization_bits 4", "means --precision int4, but"),
        ("--precision int4 --no_quantization", "--no-quantization means --precision full"),
        ("--precision auto --text_precision int8", "leave --text-precision out"),
        ("--context 0", "--context is 0"),
        ("--max_memory 8", "--max-memory is '8'"),
    ],
)
def test_flags_of_memory_and_precision_that_cannot_be_followed(parsed, fake, arguments, told):
    with pytest.raises(SettingError) as raised:
        asked(parsed, *arguments.split())
    assert told in str(raised.value)


def test_bits_that_do_not_count_are_told(parsed, fake):
    bits = ["--no_quantization", "--quantization_bits", "4"]
    assert asked(parsed, *bits).notes == (
        "Note: --quantization-bits changes nothing with --no-quantization.",
    )


def test_a_clip_needs_room_to_be_encoded(parsed, here):
    save("clip.wav", tones(spoken("Twenty-five letters, more.")))
    (here / "clip.txt").write_text("What is said.")
    assert asked(parsed, "--voice", "clip.wav").wish == Wish(clones=True)
    assert asked(parsed, "--voice", "profile:male_en").wish == Wish()


def test_other_numbers_of_bits_are_refused(parsed):
    for bits in ("0", "5", "16"):
        with pytest.raises(SettingError, match=f"--quantization-bits is {bits}; use 4 or 8"):
            asked(parsed, "--quantization_bits", bits, "--device", "cpu")


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_model_speaks_in_the_precision_that_is_asked_for(run, tiny, precision):
    line = ["Hi.", "--model", tiny, "--seed", 1, "--max-new-tokens", 30, "--device", "cpu"]
    for flags in ([], ["--precision", precision], ["--quantization_bits", precision[3:]]):
        assert run("say", *line, *flags, "-o", f"{len(flags) and flags[0][2:]}.wav").code == 0
    whole, asked_for, theirs = (
        Path(f"{name}.wav").read_bytes() for name in ("0", "precision", "quantization_bits")
    )
    assert asked_for == theirs != whole


def test_the_automatic_choice_is_told_and_any_other_only_when_asked(run, tiny):
    line = ["say", "Hi.", "--model", tiny, "--max-new-tokens", 30]
    assert "Precision: full on cpu: " in run(*line, "--precision", "auto").err
    assert "Precision" not in run(*line).err
    assert "Precision: full on cpu: " in run(*line, "-v").err


def test_packed_weights_without_kernels_are_told_in_a_line(run, tiny, monkeypatch):
    monkeypatch.setattr("faster_higgs.checkpoint.fit.find", lambda: Found(None, "no compiler"))
    line = ["say", "Hi.", "--model", tiny, "--max-new-tokens", 30, "--device", "cpu"]
    told = run(*line, "--precision", "int8").err
    assert told == "Warning: int8 weights are slow here: no compiler.\n"
    assert run(*line).err == run(*line, "--precision", "int8", "-q").err == ""


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(run, tiny, monkeypatch):
    monkeypatch.setattr(speech, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    ended = run("say", "Hi.", "--model", tiny, "--max-memory", "100MB")
    assert ended.code == 2 and "There is no room for the model: full needs" in ended.error
    for memory in ("3GB", "900GB"):
        ended = run("say", "Hi.", "--model", tiny, "--max-memory", memory, "--context", 100_000_000)
        assert ended.code == 2 and "--context 16384 would fit on cpu" in ended.error


def test_flags_of_the_model_reach_the_loader(spoken, fake, monkeypatch):
    seen, fake_load = {}, FakeHiggs.load

    def load(model, **given):
        seen.update(given, model=model)
        return fake_load(model, **given)

    monkeypatch.setattr(speech.Higgs, "load", load)
    flags = ["--model", fake, "--audio_tokenizer", "c", "--device", "cpu", "--voices_dir", "v"]
    assert spoken("Hi.", *flags).code == 0
    assert seen["model"] == fake and seen["codec"] == "c" and seen["device"].device == "cpu"
    assert [str(folder) for folder in seen["voices"]] == ["v"]


def test_voices_are_names_descriptions_and_files(parsed, here):
    save("clip.wav", tones(spoken_codes := spoken("Twenty-five letters, more.")))
    assert spoken_codes.shape[1] * 0.04 > 1
    (here / "clip.txt").write_text("In the file beside.\n")
    found = asked(parsed, "--ref_audio", "belinda, profile:male_en,clip.wav").voices
    assert found[:2] == ("belinda", "profile:male_en")
    assert found[2].transcript == "In the file beside."
    told = asked(parsed, "--voice", "clip.wav", "--ref_text", "As told.").voices[0]
    assert told.transcript == "As told."


def test_the_help_has_every_flag_and_the_defaults_of_their_own_places(run):
    page = run("say", "--help").out
    text = " ".join(page.split())
    for names, settings in ((OF_SAMPLING, Sampling()), (OF_DELIVERY, Delivery())):
        for flag, name in names.items():
            value = getattr(settings, name)
            assert value is None or facts()[flag].endswith(f"default: {value}")
    for field in fields(SayFlags):
        assert field.name == "text" or f"--{field.name.replace('_', '-')}" in page
    assert "[quiet_indoor, outdoor" in text and "default: quiet_indoor]" in text
    assert "[default: output.wav]" in text
    assert len(re.findall(r"^\w.*:$", page, re.MULTILINE)) == 8
