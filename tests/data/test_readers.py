"""The same corpus is read the same from every format; what is wrong is told row by row."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.audio.files import read
from faster_higgs.data.readers import FORMATS, ReadSettings, detect, recordings
from faster_higgs.data.readers.settings import columns_of
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.errors import DataError, SettingError
from tests.data import corpora
from tests.data.corpora import RATE, ROWS, SAFE


def all_of(path: Path, **said: object) -> list[Recording | BadRow]:
    return list(recordings(path, ReadSettings(**said)))  # type: ignore[arg-type]


def good(path: Path, **said: object) -> list[Recording]:
    found = all_of(path, **said)
    assert all(isinstance(one, Recording) for one in found), found
    return found  # type: ignore[return-value]


def bad(path: Path, **said: object) -> list[BadRow]:
    return [one for one in all_of(path, **said) if isinstance(one, BadRow)]


@pytest.mark.parametrize("name", corpora.FORMATS)
def test_every_format_gives_the_same_recordings(name, tmp_path):
    path = corpora.FORMATS[name](tmp_path / "corpus")
    assert detect(path) == name.split("-")[0]
    found = good(path)
    assert len(found) == len(ROWS)
    for number, one in enumerate(found):
        _, who, text = (SAFE if name == "ljspeech" else ROWS)[number]
        assert one.text == text
        assert one.speaker == ("corpus" if name == "ljspeech" else who)
        samples = read(one.audio, rate=RATE)
        assert np.abs(samples - corpora.sound(number)).max() < 1e-4
        assert not {"nan", "mel"} & {*one.columns, *one.columns.values()}
    assert len({one.origin for one in found}) == len(ROWS)


@pytest.mark.parametrize("name", corpora.FORMATS)
def test_the_order_is_always_the_same(name, tmp_path):
    path = corpora.FORMATS[name](tmp_path / "corpus")
    assert [one.origin for one in good(path)] == [one.origin for one in good(path)]


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    corpora.wavs(folder)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_other_columns_pass_through_and_empty_ones_do_not(tmp_path):
    path = table(
        tmp_path,
        "wav_filename,normalized_text,text,speaker,emotion,gender,topic\n"
        "a1.wav,,Raw one,An,vui vẻ,nan,\na2.wav,Clean two,Raw two,,,male,news\n",
    )
    one, two = good(path)
    assert (one.text, one.columns) == ("Raw one", {"emotion": "vui vẻ"})
    assert two.text == "Clean two" and two.speaker == "unknown_speaker"
    assert two.columns == {"text": "Raw two", "gender": "male", "topic": "news"}


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "  "])
def test_an_empty_text_is_told_and_never_read_as_nan(tmp_path, empty):
    path = table(tmp_path, f"audio,text\na1.wav,{empty}\na2.wav,Banana nan\n")
    bad, one = all_of(path)
    assert isinstance(bad, BadRow) and bad.kind == "text" and bad.origin == "t.csv, line 2"
    assert isinstance(one, Recording) and one.text == "Banana nan"


def test_rows_marked_as_not_valid_are_told_as_such(tmp_path):
    path = table(tmp_path, "audio,text,valid\na1.wav,One,False\na2.wav,Two,True\nb1.wav,Three,\n")
    marked, *rest = all_of(path)
    assert isinstance(marked, BadRow) and marked.kind == "marked"
    assert [one.text for one in rest if isinstance(one, Recording)] == ["Two", "Three"]


def test_the_raw_path_is_taken_where_the_file_is_not_in_the_audio_folder(tmp_path):
    far = corpora.wav(tmp_path / "far" / "x.wav", 1)
    path = table(tmp_path, f"wav_filename,text,raw_path\na1.wav,One,{far}\nx.wav,Two,{far}\n")
    near, other = good(path, audio_dir=tmp_path)
    assert (near.audio, other.audio) == (tmp_path / "a1.wav", far)


def test_a_missing_file_is_told_and_the_others_follow(tmp_path):
    path = table(tmp_path, "audio,text\ngone.wav,One\na2.wav,Two\n")
    bad, one = all_of(path)
    assert isinstance(bad, BadRow) and bad.kind == "file" and "gone.wav" in bad.reason
    assert isinstance(one, Recording)


def test_a_row_of_the_wrong_width_is_told(tmp_path):
    path = table(tmp_path, "audio,text,speaker\na1.wav,One, two,An\na2.wav,Two,An\n")
    bad, one = all_of(path)
    assert isinstance(bad, BadRow) and "4 cells, and the header 3" in bad.reason
    assert isinstance(one, Recording)


def test_a_row_that_is_not_utf8_is_told(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("audio,text\na1.wav,chào\n".encode() + "a2.wav,chào\n".encode("latin-1"))
    one, bad = all_of(path)
    assert isinstance(one, Recording) and isinstance(bad, BadRow) and "UTF-8" in bad.reason


def test_a_text_may_hold_line_breaks_and_delimiters(tmp_path):
    path = table(tmp_path, 'audio,text\na1.wav,"One,\ntwo"\n\na2.wav,Three\n')
    one, two = good(path)
    assert (one.text, two.text) == ("One,\ntwo", "Three") and two.origin == "t.csv, line 5"


def test_a_quotation_mark_that_is_not_closed_is_told_with_the_lines_it_takes(tmp_path):
    path = table(tmp_path, 'audio,text\na1.wav,One\na2.wav,"Two\nb1.wav,Three\nb2.wav,Four\n')
    one, bad = all_of(path)
    assert isinstance(one, Recording) and isinstance(bad, BadRow)
    assert bad.origin == "t.csv, line 3" and "all up to line 5" in bad.reason
    path = table(tmp_path, 'audio,text\na2.wav,"Two\nb1.wav,"Three"\nb2.wav,Four\n')
    assert [isinstance(found, BadRow) for found in all_of(path)] == [True, False]


def test_links_are_followed_once_and_lead_somewhere(tmp_path):
    corpora.as_folder(tmp_path / "there")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "An").symlink_to(tmp_path / "there" / "An")
    (tmp_path / "there" / "An" / "again").symlink_to(tmp_path / "there" / "An")
    assert len(good(tmp_path / "corpus")) == 2
    (tmp_path / "corpus" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "corpus" / "gone.txt").write_text("Gone.")
    assert len(good(tmp_path / "corpus")) == 3
    with pytest.raises(DataError, match="neither a file nor a folder"):
        detect(Path("/dev/null"))


def test_quotes_between_tabs_are_part_of_the_text(tmp_path):
    path = table(tmp_path, 'path\tsentence\na1.wav\t"Oh," he said.\na2.wav\t"Two ""2"""\n', "t.tsv")
    assert [one.text for one in good(path)] == ['"Oh," he said.', 'Two "2"']


def test_columns_can_be_mapped(tmp_path):
    path = table(tmp_path, "clip,said,who,text\na1.wav,One,An,wrong\n")
    said = columns_of("audio=clip, text=said,speaker=who")
    (one,) = good(path, columns=said)
    assert (one.text, one.speaker, one.columns) == ("One", "An", {"text": "wrong"})


def test_columns_without_a_header_are_numbers(tmp_path):
    path = table(tmp_path, "a1.wav|An|One\na2.wav|Binh|Two\n", "list.txt")
    found = good(path, columns=columns_of("audio=1,speaker=2,text=3"))
    assert [(one.speaker, one.text) for one in found] == [("An", "One"), ("Binh", "Two")]


def test_speaker_and_language_can_be_said(tmp_path):
    path = table(tmp_path, "audio,text,speaker,locale\na1.wav,One,An,vi-VN\na2.wav,Two,An,\n")
    found = good(path, speaker="me", language="en")
    assert [(one.speaker, one.language) for one in found] == [("me", "vi"), ("me", "en")]


def test_a_language_is_known_by_its_name_and_tag(tmp_path):
    rows = "a1.wav,One,Vietnamese\na2.wav,Two,vi_VN\nb1.wav,Three,Ngọng nghịu\n"
    path = table(tmp_path, f"audio,text,language\n{rows}")
    assert [one.language for one in good(path)] == ["vi", "vi", None]
    with pytest.raises(SettingError, match="no language 'klingon'"):
        ReadSettings(language="klingon")


@pytest.mark.parametrize(
    ("name", "said", "flag"),
    [
        ("csv", {"split": "train"}, "--split"),
        ("jsonl", {"split": "train"}, "--split"),
        ("kaldi", {"columns": {"text": "x"}}, "--columns"),
        ("folder", {"audio_dir": Path()}, "--audio-dir"),
        ("seeds", {"unnamed": "x_speaker"}, "--dataset-name"),
    ],
)
def test_what_a_format_has_no_use_for_is_refused(tmp_path, name, said, flag):
    with pytest.raises(SettingError, match=f"{flag} changes nothing in .* read as {name}"):
        all_of(corpora.FORMATS[name](tmp_path / "corpus"), **said)


@pytest.mark.parametrize("line", ["a1.wav|One and two|An", "a1.wav|An|One and two"])
def test_which_of_three_nameless_columns_is_the_text_is_asked(tmp_path, line):
    path = table(tmp_path, f"{line}\n", "list.txt")
    with pytest.raises(DataError, match=r"no header.*--columns audio=1,speaker=2,text=3"):
        all_of(path)
    both = table(tmp_path, "a1.wav|In 2 days|In two days\n", "both.txt")
    assert good(both)[0].text == "In two days"


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("clip,sentence\na1.wav,One\n", "", r"no column for the audio.*clip, sentence.*--columns"),
        ("audio,words\na1.wav,One\n", "", r"no column for the text.*audio, words.*text=COLUMN"),
        ("audio,text\na1.wav,One\n", "speaker=who", r"no column 'who'.*audio, text"),
        ("audio,text\n", "", r"holds no recordings"),
        ("", "", r"is empty"),
    ],
)
def test_a_table_that_cannot_be_read_at_all_is_refused(tmp_path, text, said, expected):
    path = table(tmp_path, text)
    with pytest.raises(DataError, match=expected):
        all_of(path, columns=columns_of(said))


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(SettingError, match="mapped to 'voice'"):
        ReadSettings(columns={"voice": "x"})
    with pytest.raises(SettingError, match="part=column"):
        columns_of("text")
    with pytest.raises(SettingError, match=r"no format 'xml'.*csv"):
        all_of(corpora.as_csv(tmp_path), format="xml")
    with pytest.raises(DataError, match="--audio-dir"):
        all_of(corpora.as_csv(tmp_path), audio_dir=tmp_path / "none")


def test_places_without_a_corpus_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"hf download --repo-type dataset nobody/nothing"):
        all_of(Path("nobody/nothing"))
    with pytest.raises(DataError, match="found nothing in it"):
        all_of(tmp_path)
    corpora.wavs(tmp_path)
    with pytest.raises(DataError, match=r"its text beside it.*a1\.wav"):
        all_of(tmp_path)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("path\tsentence\n")
    with pytest.raises(DataError, match=r"several tables.*dev\.tsv, train\.tsv"):
        all_of(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_that_is_said_wrongly_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("hello\nthere\n")
    for place in ("empty", "t.csv"):
        try:
            found = all_of(tmp_path / place, format=name)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(one, BadRow) for one in found), place


def test_a_text_without_sound_is_told_once(tmp_path):
    corpora.as_folder(tmp_path)
    lone = ("An/a9.lab", "An/a9.normalized.txt", "An/a9.txt", "readme.txt", "txt/An/a1.txt")
    for name in (*lone, "An/.a1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Nobody says this.")
    found = bad(tmp_path)
    assert [one.origin for one in found] == ["An/a9.lab", "txt/An/a1.txt"]
    assert {one.kind for one in found} == {"lone_text"}
    assert [one.origin for one in bad(tmp_path, split="a1*")] == ["txt/An/a1.txt"]
    corpora.wav(tmp_path / "b.wav", 0).with_suffix(".txt").write_text("Somebody says this.")
    assert [one.origin for one in bad(tmp_path)][1] == "readme.txt"


def test_a_text_in_a_tree_is_of_its_sound(tmp_path):
    for name in ("wav/anna/a_mic1.flac", "wav/anna/b.flac", "wav/c.flac", "d.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("txt/anna/a.txt", "txt/anna/b.normalized.txt", "txt/c.lab", "txt/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Hello.")
    assert [(one.kind, one.origin) for one in bad(tmp_path)] == [
        ("lone_sound", "d.flac"),
        ("lone_text", "txt/d.txt"),
    ]


def test_a_sound_without_text_is_told(tmp_path):
    corpora.as_folder(tmp_path)
    (tmp_path / "An" / "a1.txt").unlink()
    (tmp_path / "An" / "a2.lab").write_text(" \n")
    first, second, *rest = all_of(tmp_path)
    assert isinstance(first, BadRow) and "a1.txt or a1.lab" in first.reason
    assert first.kind == "lone_sound" and first.no_fault and not second.no_fault
    assert isinstance(second, BadRow) and second.kind == "text" and len(rest) == 2


def test_texts_may_lie_in_a_folder_of_their_own(tmp_path):
    for number, (who, name) in enumerate((("p225", "p225_001"), ("p226", "p226_001"))):
        for microphone in ("mic1", "mic2"):
            place = tmp_path / "wav48_silence_trimmed" / who
            corpora.wav(place / f"{name}_{microphone}.wav", number)
        (tmp_path / "txt" / who).mkdir(parents=True)
        (tmp_path / "txt" / who / f"{name}.txt").write_text(f"Said by {who}.")
    (tmp_path / "speaker-info.txt").write_text("ID AGE GENDER")
    assert detect(tmp_path) == "folder"
    found = [(one.speaker, one.text) for one in good(tmp_path)]
    assert found == [(who, f"Said by {who}.") for who in ("p225", "p225", "p226", "p226")]


def test_normalised_texts_go_before_others(tmp_path):
    corpora.as_folder(tmp_path)
    (tmp_path / "An" / "a1.normalized.txt").write_text("Better.")
    assert good(tmp_path)[0].text == "Better."


def test_splits_are_chosen_by_name(tmp_path):
    corpora.as_parquet(tmp_path)
    test = tmp_path / "data" / "test-00000-of-00001.parquet"
    test.write_bytes((tmp_path / "data" / "train-00001-of-00002.parquet").read_bytes())
    assert len(good(tmp_path)) == 5
    assert len(good(tmp_path, split="train")) == len(good(tmp_path, split="train-*")) == 4
    with pytest.raises(DataError, match=r"matches --split 'dev'.*data/test-00000"):
        all_of(tmp_path, split="dev")


def test_sounds_that_lie_beside_a_parquet_file_are_found(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    corpora.wavs(tmp_path / "clips")
    rows = {"audio": [{"bytes": None, "path": "a1.wav"}], "text": ["One"]}
    parquet.write_table(pa.table(rows), tmp_path / "t.parquet")
    assert good(tmp_path / "t.parquet")[0].audio == tmp_path / "clips" / "a1.wav"


def test_labels_of_hugging_face_are_names(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = tmp_path / "x.parquet"
    columns = corpora.table_of([0, 1]) | {"speaker": [1, 0], "gender": [-1, 0]}
    kind = {"names": ["An", "Binh"], "_type": "ClassLabel"}
    noted = {"info": {"features": {"speaker": kind, "gender": kind, "audio": {}}}}
    told = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(noted)})
    parquet.write_table(told, path)
    one, two = good(path)
    assert (one.speaker, two.speaker) == ("Binh", "An")
    assert (one.columns["gender"], two.columns["gender"]) == ("-1", "An")


def test_a_damaged_parquet_file_among_others_is_told(tmp_path):
    corpora.as_parquet(tmp_path)
    first = tmp_path / "data" / "train-00000-of-00002.parquet"
    first.write_bytes(first.read_bytes()[:-300])
    bad, one = all_of(tmp_path)
    assert isinstance(bad, BadRow) and "cannot be read further" in bad.reason
    assert isinstance(one, Recording) and one.text == ROWS[3][2]
    with pytest.raises(DataError, match="cannot be read further"):
        all_of(first)


def test_parquet_is_held_a_few_rows_at_a_time(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path, size = tmp_path / "large.parquet", 100_000
    rows = [{"bytes": np.random.default_rng(i).bytes(size), "path": None} for i in range(400)]
    large = pa.table({"audio": rows, "text": ["x"] * len(rows)})
    parquet.write_table(large, path, row_group_size=40)
    del large, rows
    before, most = pa.total_allocated_bytes(), 0
    for _ in recordings(path):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 150 * size, most  # of 400


def test_bad_lines_of_json_are_told(tmp_path):
    corpora.as_jsonl(tmp_path)
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    (tmp_path / "all.jsonl").write_text("\n".join([lines[0], "{", "[]", '{"audio": 3}', lines[1]]))
    found = all_of(tmp_path / "all.jsonl")
    assert [isinstance(one, BadRow) for one in found] == [False, True, True, True, False]


def test_halves_of_characters_are_told_or_replaced(tmp_path):
    corpora.as_jsonl(tmp_path)
    lines = [
        {"audio": "a1.wav", "text": "half \ud83d"},
        {"audio": "gone\udce9.wav", "text": "One."},
        {"audio": "a2.wav", "text": "Two.", "speaker": "\ud83d", "topic": "\udce9"},
    ]
    told = "\n".join(["[" * 100_000, *map(json.dumps, lines)])
    (tmp_path / "all.jsonl").write_text(told)
    deep, half, gone, two = all_of(tmp_path / "all.jsonl")
    assert isinstance(deep, BadRow) and isinstance(half, BadRow) and "UTF-8" in half.reason
    assert isinstance(gone, BadRow) and "gone?.wav" in gone.reason
    assert isinstance(two, Recording) and two.speaker == "?" and two.columns == {"topic": "?"}


def test_a_list_in_one_json_file_is_read(tmp_path):
    path = corpora.as_jsonl(tmp_path)
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    (tmp_path / "all.json").write_text(json.dumps(rows))
    assert [one.text for one in good(tmp_path / "all.json")] == [text for _, _, text in ROWS]


def test_what_is_said_by_the_user_is_the_text_where_the_answer_is_a_sound(tmp_path):
    corpora.wavs(tmp_path)
    said = [{"type": "text", "text": "One."}]
    row = {
        "messages": [
            {"role": "user", "content": said},
            {"role": "assistant", "content": "<audio>"},
        ],
        "audios": ["a1.wav"],
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    assert good(tmp_path)[0].text == "One."


def test_references_of_older_trainers_come_along(tmp_path):
    corpora.as_seeds(tmp_path)
    about = json.loads((tmp_path / "metadata.json").read_text())
    first, second = about["samples"][:2]
    first |= {"ref_audio_file": "a2.wav", "ref_transcript": ROWS[1][2]}
    second["ref_speakers"] = [
        {"speaker_tag": "[SPEAKER0]", "speaker_id": "An", "ref_audio_file": "a1.wav"},
        {"speaker_id": "Binh", "ref_audio_file": "b1.wav", "ref_transcript": "b1.txt"},
    ]
    about["samples"][2]["ref_audio_file"] = "gone.wav"
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    one, two, bad, _ = all_of(tmp_path)
    assert isinstance(one, Recording) and isinstance(two, Recording)
    (reference,) = one.references
    assert (reference.speaker, reference.text) == ("An", ROWS[1][2])
    assert [(other.speaker, other.text) for other in two.references] == [
        ("An", ""),
        ("Binh", ROWS[2][2]),
    ]
    assert isinstance(bad, BadRow) and "gone.wav, its reference" in bad.reason


def test_commands_of_kaldi_are_not_run(tmp_path):
    corpora.as_kaldi(tmp_path)
    (tmp_path / "wav.scp").write_text(f"a1 touch {tmp_path}/ran |\nb2 far/b2.wav\n")
    bad, one = all_of(tmp_path)
    assert isinstance(bad, BadRow) and "commands are not run" in bad.reason
    assert isinstance(one, Recording) and not (tmp_path / "ran").exists()
    (tmp_path / "segments").write_text("x a1 0 1")
    with pytest.raises(DataError, match="segments"):
        all_of(tmp_path)


def test_a_prepared_folder_is_not_a_corpus(tmp_path):
    from tests.data.tiny import tiny_cache

    folder = tiny_cache(tmp_path / "data")
    assert detect(folder) == "prepared"
    with pytest.raises(DataError, match="prepared already"):
        all_of(folder)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.json", "t.txt"]))
def test_any_bytes_are_read_or_refused_in_a_sentence(content, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(b"audio,text\n" + content if name == "t.csv" else content)
        try:
            found = all_of(path)
        except DataError as error:
            assert str(error).endswith((".", "COLUMN."))
        else:
            assert all(isinstance(one, BadRow) for one in found)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda cell: cell.strip() == cell and cell not in ("nan", "NaN", "<NA>")
)


@settings(max_examples=50, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=5), st.sampled_from(",;\t"), st.booleans())
def test_what_is_written_as_a_table_is_read(texts, delimiter, quote):
    quoting = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.wav").touch()
        with Path(folder, "t.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
            writer.writerows([["audio", "text"], *(["a.wav", text] for text in texts)])
        assert [one.text for one in good(Path(folder, "t.csv"))] == texts
