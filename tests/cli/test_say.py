"""`higgs say` from a text to a file and a report, with the fake model."""

from __future__ import annotations

import io
import json
import stat
import sys
from dataclasses import replace

import pytest

from faster_higgs.audio.encode import FORMATS
from faster_higgs.audio.files import read
from faster_higgs.engine.request import Finish
from faster_higgs.testing import HOP, FakeHiggs, heard
from faster_higgs.testing import spoken as codes_of

HELLO = "Hello, this is one sentence that is long enough."


def said(path):
    """The text a fake speech says, as codes."""
    return heard(read(path))[0]


def test_a_text_becomes_a_file_and_a_report(spoken, here):
    ended = spoken(HELLO, "--seed", 5)
    assert ended.code == 0
    samples = len(read(here / "output.wav"))
    lines = ended.out.splitlines()
    assert lines[0] == "Audio successfully generated and saved to: output.wav"
    assert lines[1] == "Sample rate: 24000 Hz"
    assert lines[2] == f"Duration: {samples / 24000:.2f} seconds"
    assert lines[3].startswith("Audio validation: RMS=0.") and f"/{samples} (" in lines[3]
    assert lines[4] == "Audio validation passed - real speech content detected"
    assert lines[5:] == ["Seed: 5, voice: chosen by the model"]


def test_the_file_says_the_text(spoken, here):
    spoken(HELLO, "-o", "a.wav")
    wanted = codes_of(HELLO)[0]
    assert said("a.wav")[: len(wanted)].tolist() == wanted.tolist()


def test_pico_is_named_when_it_speaks_for_lack_of_another(spoken):
    assert "pico" in spoken("Hello.").err
    assert "higgs download" in spoken("Hello.").err


def test_a_model_that_was_asked_for_speaks_without_a_word(spoken, fake):
    assert spoken("Hello.", "--model", fake).err == ""


@pytest.mark.parametrize("format", FORMATS)
def test_the_suffix_chooses_the_format(spoken, here, format):
    name = f"speech{FORMATS[format].suffix}"
    assert spoken(HELLO, "-o", name).code == 0
    if format == "pcm":
        assert (here / name).stat().st_size % (2 * HOP) == 0
    else:
        assert len(read(here / name)) > 24_000
    assert [path.name for path in here.iterdir()] == [name]


def test_a_format_may_be_asked_for_in_spite_of_the_suffix(spoken, here):
    spoken("Hello.", "-o", "speech.bin", "--format", "flac")
    assert (here / "speech.bin").read_bytes().startswith(b"fLaC")


@pytest.mark.parametrize("flag", ["-o", "--output", "--out_path", "--out-path"])
def test_the_file_has_all_its_names(spoken, here, flag):
    spoken("Hello.", flag, "x.wav")
    assert (here / "x.wav").exists()


def test_a_new_file_has_the_rights_of_any_other(spoken, here):
    (here / "plain").touch()
    spoken("Hello.", "-o", "x.wav")
    rights = [stat.S_IMODE((here / name).stat().st_mode) for name in ("plain", "x.wav")]
    assert rights[0] == rights[1]


def test_equal_seeds_make_equal_files(spoken, here):
    for name in ("a.wav", "b.wav"):
        spoken(HELLO, "--seed", 1, "-o", name)
    assert (here / "a.wav").read_bytes() == (here / "b.wav").read_bytes()


def test_the_bytes_go_to_standard_output_and_words_to_standard_error(fake, here, capsysbinary):
    from faster_higgs.cli.main import main

    assert main(["say", HELLO, "-o", "-", "--format", "pcm", "--seed", "1"]) == 0
    out, err = capsysbinary.readouterr()
    main(["say", HELLO, "-o", "x.pcm", "--seed", "1"])
    assert out == (here / "x.pcm").read_bytes()
    assert b"Audio validation passed" in err


def test_standard_output_is_wav_if_nothing_is_said(fake, here, capsysbinary):
    from faster_higgs.cli.main import main

    main(["say", "Hello.", "-o", "-", "--quiet"])
    assert capsysbinary.readouterr().out.startswith(b"RIFF")


def test_sound_is_not_written_to_a_terminal(spoken, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "terminal" in spoken("Hello.", "-o", "-").error


def test_the_report_for_machines(spoken):
    ended = spoken(HELLO, "--seed", 5, "--json", "--voice", "alice")
    told = json.loads(ended.out)
    assert told["output"] == "output.wav" and told["seed"] == 5 and told["voice"] == "alice"
    assert told["finish_reason"] == "stop" and told["audio"]["passed"] is True
    assert [part["text"] for part in told["utterances"]] == [HELLO]
    assert told["utterances"][-1]["end"] == pytest.approx(told["audio"]["duration"], abs=0.001)


def test_json_and_bytes_cannot_share_standard_output(spoken):
    ended = spoken("Hello.", "--json", "-o", "-")
    assert ended.code == 2 and "--json" in ended.error


def test_a_speech_that_was_cut_is_told(spoken):
    ended = spoken(HELLO, "--max_new_tokens", 40)
    assert ended.code == 0
    assert ended.out.splitlines()[-1].endswith("finish reason: length")
    assert "cut by the length limit" in ended.out


def test_strict_fails_when_a_check_fails_but_keeps_the_file(spoken, here):
    ended = spoken(HELLO, "--max_new_tokens", 40, "--strict", "--quiet")
    assert ended.code == 1 and "cut" in ended.error
    assert (here / "output.wav").exists()
    assert spoken(HELLO, "--strict").code == 0


def test_strict_fails_when_the_speech_went_in_circles(spoken, monkeypatch):
    frames = FakeHiggs.frames

    def broken_off(*asked, **urgency):
        for event in frames(*asked, **urgency):
            over = event.result and replace(event.result, finish=Finish.LOOP)
            yield event._replace(result=over)

    monkeypatch.setattr(FakeHiggs, "frames", broken_off)
    assert "went in circles" in spoken(HELLO).out
    ended = spoken(HELLO, "--strict", "--quiet")
    assert ended.code == 1 and "went in circles" in ended.error


def test_quiet_says_nothing(spoken, here):
    assert spoken("Hello.", "--quiet", "--use_static_kv_cache") == (0, "", "")
    assert (here / "output.wav").exists()


def test_verbose_tells_of_the_model_and_each_utterance(spoken, fake):
    err = spoken("One thing. Another thing.", "-v", "--chunk_max_word_num", 2).err
    assert str(fake) in err and "Real-time factor" in err
    assert "[1/2]" in err and "[2/2]" in err


def test_no_bar_without_a_terminal(spoken):
    assert "\r" not in spoken(HELLO).err and "\x1b" not in spoken(HELLO).err


def test_a_bar_on_a_terminal(spoken, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert "real-time factor" in spoken(HELLO).err
    assert "real-time factor" not in spoken(HELLO, "--quiet").err


def test_the_text_may_come_from_standard_input(spoken, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Grüße.\n".encode())))
    assert spoken("-").code == 0
    assert said("output.wav")[:12].tolist() == codes_of("Grüße.")[0].tolist()


def test_a_transcript_is_a_file_or_the_words_themselves(spoken, here):
    (here / "t.txt").write_text("  From a file.\n\n", encoding="utf-8-sig")
    spoken("--transcript", "t.txt", "-o", "a.wav", "--seed", 1)
    spoken("--transcript", "From a file.", "-o", "b.wav", "--seed", 1)
    spoken("From a file.", "-o", "c.wav", "--seed", 1)
    assert len({(here / name).read_bytes() for name in ("a.wav", "b.wav", "c.wav")}) == 1


def test_a_picture_is_drawn(spoken, here):
    pytest.importorskip("matplotlib")
    assert spoken(HELLO, "--plot", "p.png").code == 0
    assert (here / "p.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in here.iterdir()} == {"p.png", "output.wav"}


def test_captions_are_written_beside_the_sound(spoken, here):
    text = "One thing. [pause:1s] Another."
    for name in ("c.srt", "c.VTT", "c.json"):
        assert spoken(text, "--captions", name).code == 0
    assert (here / "c.srt").read_text(encoding="utf-8") == (
        "1\n00:00:00,000 --> 00:00:00,800\nOne thing.\n\n"
        "2\n00:00:01,800 --> 00:00:02,440\nAnother.\n\n"
    )
    assert (here / "c.VTT").read_text(encoding="utf-8").startswith("WEBVTT\n")
    second = json.loads((here / "c.json").read_text(encoding="utf-8"))["segments"][1]
    assert second == {"index": 1, "text": "Another.", "start": 1.8, "end": 2.44}


def test_a_pause_that_was_asked_for_is_no_fault(spoken):
    text = f"{HELLO} [pause:5s] {HELLO} [pause:5s]"
    assert spoken(text, "--strict").code == spoken(HELLO, "--strict").code == 0
    shown = [row.split() for row in spoken(text, "--show-text").out.splitlines()]
    assert shown.count(["pause", "5", "s"]) == 2


def test_show_text_prints_every_stage_and_makes_nothing(spoken, here):
    ended = spoken("Dr. Who paid $5. Then he left.", "--show-text", "--chunk_max_word_num", 5)
    assert ended.code == 0 and list(here.iterdir()) == []
    rows = dict(line.strip().split("  ", 1) for line in ended.out.splitlines())
    assert rows["text"] == "Dr. Who paid $5. Then he left."
    assert rows["utterance 1"] == "Doctor Who paid five dollars."
    assert rows["utterance 2"] == "Then he left."


def test_show_text_tells_phonemes_for_a_model_that_reads_them(spoken, fake):
    from faster_higgs.testing import tiny_config

    config = tiny_config().to_json("transformers") | {"text_input": "phonemes"}
    (fake / "config.json").write_text(json.dumps(config))
    assert "phonemes 1  həloʊ." in spoken("Hello.", "--show-text").out


def test_show_text_needs_no_model(run):
    ended = run("say", "It is 5 km.", "--show-text", "--normalization", "original")
    assert ended.code == 0 and "utterance 1  It is 5 km." in ended.out
