"""What a plan says it takes is what it takes, and the best that fits is chosen, nothing else."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs import testing
from faster_higgs.checkpoint import fit as fitting
from faster_higgs.checkpoint.choice import LADDER, UNMEASURED, Wish, choose, plans
from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.fit import fit, measure
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.plan import PUBLISHED, WIDENED, Held, Size, cache, needs
from faster_higgs.checkpoint.save import save_model
from faster_higgs.config import PAGE, EngineConfig
from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.paged import PagePool
from faster_higgs.native.kernels import Found
from faster_higgs.quant.apply import swap
from faster_higgs.quant.quantization import Quantization
from tests.model.tiny_model import tiny_config

GB = 1_000_000_000


@dataclass(frozen=True)
class Room:
    """A device as plans see it."""

    name: str = "cpu"
    free: int | None = 32 * GB
    total: int | None = 32 * GB
    own: int = 0
    host: int = 0
    fp8: bool = False


def card(gigabytes: float, host: float = 16, number: int = 0, fp8: bool = False) -> Room:
    free = round(gigabytes * GB)
    return Room(f"cuda:{number}", free, free, own=0, host=round(host * GB), fp8=fp8)


def processor(gigabytes: float) -> Room:
    return Room("cpu", round(gigabytes * GB), round(gigabytes * GB))


# --- what it takes ------------------------------------------------------------------------------

SHAPES = {
    "tiny": {},
    "odd rows": {"vocab_size": 53, "codebook_size": 19, "num_hidden_layers": 1},
    "wide": {"hidden_size": 192, "intermediate_size": 320, "head_dim": 24},
}


@pytest.mark.parametrize("text_head", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "held",
    [
        Held(),
        Held("int8", "int8"),
        Held("int4", "int8"),
        Held("int4", "int4", 32),
        Held(None, "int4"),
    ],
)
def test_weights_take_the_bytes_of_their_tensors(held, shape, text_head):
    config = tiny_config(**SHAPES[shape])
    with torch.device("meta"):
        model = DualFFN(config, text_head).bfloat16()
    size = Size(config, PUBLISHED.codec, text_head)
    assert size.weights == sum(weight.numel() for weight in model.parameters())
    swap(model, Quantization(*held))
    parts = needs(size, held, card(8), EngineConfig()).device
    found = {"audio weights": 0, "text weights": 0, "embeddings, heads, norms": 0}
    for name, value in model.state_dict().items():
        found[part_of(name)] += value.nbytes
    assert found == {name: parts[name] for name in found}


def part_of(name: str) -> str:
    if re.match(r"layers\.\d+\.(._proj|audio_mlp)", name):
        return "audio weights"
    if re.match(r"layers\.\d+\.text_mlp|text_head", name):
        return "text weights"
    return "embeddings, heads, norms"


def test_the_published_model_has_the_published_size():
    assert PUBLISHED.weights == 5_377_281_024
    assert 2 * replace(PUBLISHED, text_head=True).weights == 11_542_566_912


@pytest.mark.parametrize("positions", [1, PAGE, 1000])
def test_the_cache_takes_what_its_pages_take(positions):
    config, engine = tiny_config(), EngineConfig(positions=positions)
    like = torch.zeros(1, dtype=torch.bfloat16)
    pages = -(-positions // PAGE)
    pool = PagePool(like, config.num_hidden_layers, config.num_key_value_heads, 8, pages)
    assert cache(config, engine, 2) == sum(t.nbytes for t in (*pool.keys, *pool.values))


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_the_codec_takes_what_its_halves_take(tmp_path, layout):
    folder = testing.tiny_checkpoint(tmp_path, layout=layout)
    size = measure(folder, folder / "codec")
    for encoder, told in ((False, size.codec.decoder), (True, size.codec.encoder)):
        codec = load_codec(folder / "codec", encoder=encoder)
        assert told == sum(value.nbytes for value in codec.state_dict().values())


def test_small_models_are_widened_on_a_processor_and_nowhere_else():
    small = Size(tiny_config(), PUBLISHED.codec)
    assert small.weights < WIDENED < PUBLISHED.weights
    for size, device, widened in (
        (small, Room(), True),
        (small, card(8), False),
        (replace(small, item=4), Room(), False),
        (PUBLISHED, Room(), False),
    ):
        assert needs(size, Held(), device, EngineConfig()).widened == widened


def test_of_files_that_stay_as_they_are_only_the_words_in_use_are_read():
    whole = 2 * 128_256 * 3072
    packed = replace(PUBLISHED, packed=Held("int8", "int8"))
    for size, held, read in (
        (PUBLISHED, Held(), False),
        (PUBLISHED, Held("int8", "int8"), True),
        (packed, Held("int8", "int8"), False),
        (replace(PUBLISHED, mapped=False), Held(), True),
    ):
        parts = needs(size, held, Room(), EngineConfig()).device
        assert (parts["embeddings, heads, norms"] > whole) == read


def test_text_on_the_host_leaves_one_layer_at_a_time_on_the_card():
    whole, streamed = (
        needs(PUBLISHED, held, card(8), EngineConfig()) for held in (Held(), Held(None, "host"))
    )
    assert whole.host == 0 and whole.device["text weights"] == 84 * 48 * 2**20
    assert streamed.host == 84 * 64 * 2**20  # pinned memory comes in powers of two
    assert streamed.device["text weights"] == 2 * 2 * 3072 * 8192


def test_on_a_card_keys_and_values_are_counted_once_more_side_by_side():
    engine = EngineConfig(slots=4, positions=20_000)
    there, here = (
        needs(PUBLISHED, Held(), device, engine).device["workspace"] for device in (card(8), Room())
    )
    assert there - here == 3 * 4 * 8192 * cache(PUBLISHED.model, engine, 2) // (20_016 * 28)


def test_what_is_asked_for_is_counted():
    engine = EngineConfig()
    plain = needs(PUBLISHED, Held(), Room(), engine).total
    assert needs(PUBLISHED, Held(), Room(), engine, clones=True).total > plain + GB
    assert needs(PUBLISHED, Held(), Room(), engine, listeners=9).total > plain
    assert needs(PUBLISHED, Held(), Room(own=GB), engine).total == plain + GB
    assert needs(PUBLISHED, Held(), Room(), replace(engine, slots=64)).total > plain
    assert needs(replace(PUBLISHED, text_head=True), Held(), Room(), engine).total > plain


# --- what is chosen -------------------------------------------------------------------------------

rooms = st.lists(
    st.builds(
        lambda kind, gigabytes, host: card(gigabytes, host) if kind else processor(gigabytes),
        st.booleans(),
        st.floats(0, 30),
        st.floats(0, 20),
    ),
    min_size=1,
    max_size=3,
)
wishes = st.builds(
    Wish,
    held=st.sampled_from([None, *LADDER]),
    context=st.sampled_from([None, 2_000, 50_000]),
    clones=st.booleans(),
) | st.builds(Wish, automatic=st.just(True), context=st.sampled_from([None, 2_000, 50_000]))


@settings(deadline=None, max_examples=50)
@given(rooms, wishes)
def test_what_is_chosen_fits_is_what_was_asked_for_and_the_best(found, wish):
    tried = [list(plans(PUBLISHED, room, wish)) for room in found]
    fitting = [[plan for plan in row if plan.fits] for row in tried]
    if not any(fitting):
        with pytest.raises(SettingError):
            choose(PUBLISHED, found, wish)
        return
    plan = choose(PUBLISHED, found, wish)
    assert plan.fits and plan.needs.total <= plan.room and plan.reason
    if not wish.automatic:
        assert plan.held == (wish.held or Held())
    assert wish.context in (None, plan.engine.positions)
    first = next(row for row in fitting if row)
    assert (plan.device, plan.held, plan.engine) == (
        first[0].device,
        first[0].held,
        first[0].engine,
    )


@settings(deadline=None, max_examples=50)
@given(rooms, wishes)
def test_a_refusal_names_what_would_fit_if_anything_does(found, wish):
    try:
        choose(PUBLISHED, found, wish)
    except SettingError as error:
        told = str(error)
    else:
        return
    assert "\n" not in told and told.endswith(".")
    if "only beside a graphics card" in told:
        assert wish.held.text == "host" and {room.name for room in found} == {"cpu"}
        return
    plain = told.replace(" (or --precision auto)", "")
    flags = re.search(r"\. (--[^.]*) would fit on (\S+):", plain)
    if flags is None:
        freely = replace(wish, held=None, automatic=True, context=None)
        with pytest.raises(SettingError):
            choose(PUBLISHED, found, freely)
        return
    chosen = choose(PUBLISHED, found, followed(wish, flags[1]))
    assert chosen.fits


def followed(wish: Wish, flags: str) -> Wish:
    """The wish with flags that were advised."""
    words = shlex.split(flags)
    given = dict(zip(words[::2], words[1::2], strict=True))
    if "--context" in given:
        wish = replace(wish, context=int(given["--context"]))
    if "--precision" in given:
        sides = given["--precision"], given.get("--text-precision", given["--precision"])
        wish = replace(wish, held=Held(*(None if s == "full" else s for s in sides)))
        wish = replace(wish, automatic=False)
    return wish


@pytest.mark.parametrize("device", [card, processor])
def test_more_memory_is_never_worse(device):
    ranks, contexts = [], []
    for tenths in range(30, 150, 2):
        try:
            plan = choose(PUBLISHED, [device(tenths / 10)], Wish(automatic=True))
        except SettingError:
            assert not ranks
            continue
        ranks.append(LADDER.index(plan.held))
        contexts.append((ranks[-1], -plan.engine.positions))
    assert ranks[-1] == 0 and len(set(ranks)) >= 3
    assert all(a >= b for a, b in itertools.pairwise(contexts))


def test_the_reason_is_one_line():
    plan = choose(PUBLISHED, [processor(8)], Wish(automatic=True, context=8_192))
    told = r"int8 on cpu: \d\.\d GB of 8\.0 GB free; full would need 1\d\.\d GB"
    assert re.fullmatch(told, plan.reason)
    short = choose(PUBLISHED, [processor(7)], Wish(automatic=True))
    assert "free, with 4,096 positions of cache; full would need" in short.reason


def test_nothing_is_rounded_unless_that_is_asked_for():
    assert choose(PUBLISHED, [processor(30)], Wish()).held == Held()
    with pytest.raises(SettingError, match=r"--precision int8 \(or --precision auto\) would fit"):
        choose(PUBLISHED, [processor(8)], Wish())


def test_a_device_that_is_passed_over_is_told_with_what_would_fit_there():
    plan = choose(PUBLISHED, [card(9), processor(30)], Wish())
    assert plan.device == "cpu"
    (note,) = plan.notes
    assert "cuda:0 was passed over: full needs" in note
    assert note.endswith("--precision full --text-precision host would fit there.")


def test_that_packed_weights_were_not_timed_on_a_card_is_told_there():
    assert UNMEASURED in choose(PUBLISHED, [card(7)], Wish(automatic=True)).reason
    assert UNMEASURED not in choose(PUBLISHED, [processor(9)], Wish(automatic=True)).reason
    assert UNMEASURED not in choose(PUBLISHED, [card(24)], Wish(automatic=True)).reason


def test_fp8_is_taken_where_it_is_asked_for_and_a_card_has_it():
    wish, packed = Wish(Held("fp8", "fp8")), replace(PUBLISHED, packed=Held("fp8"))
    here = [card(24), card(24, number=1, fp8=True), processor(30)]
    assert choose(PUBLISHED, here, wish).device == "cuda:1"
    assert choose(packed, here, Wish(automatic=True)).held == Held("fp8")
    assert choose(packed, [card(7.5, fp8=True)], Wish(automatic=True)).held == Held("fp8", "host")
    for size, asked in ((PUBLISHED, wish), (packed, Wish()), (packed, Wish(automatic=True))):
        with pytest.raises(SettingError, match="fp8 needs a graphics card of compute capability"):
            choose(size, [card(24), processor(30), Room("mps")], asked)
    with pytest.raises(SettingError, match="no room for the model: fp8 needs"):
        choose(PUBLISHED, [card(6, fp8=True)], wish)


@pytest.mark.parametrize("gigabytes", [6, 8, 12, 24])
def test_fp8_is_never_taken_by_itself(gigabytes):
    plan = choose(PUBLISHED, [card(gigabytes, fp8=True)], Wish(automatic=True))
    assert "fp8" not in plan.held


def test_later_devices_are_not_even_asked():
    def found() -> Iterator[Room]:
        yield card(24)
        pytest.fail("the second device was asked")

    assert choose(PUBLISHED, found(), Wish()).device == "cuda:0"


def test_the_smaller_of_a_budget_and_what_is_free_counts():
    with pytest.raises(SettingError, match=r"of 1\.0 GB free on cpu"):
        choose(PUBLISHED, [processor(1)], Wish(memory=20 * GB))
    assert choose(PUBLISHED, [Room("mps", None, None)], Wish(memory=30 * GB)).room == 30 * GB
    with pytest.raises(SettingError, match=r"of 8\.0 GB allowed on cpu"):
        choose(PUBLISHED, [processor(30)], Wish(memory=8 * GB))


def test_what_the_process_has_already_is_not_asked_for_again():
    own = 2 * GB
    plan = choose(PUBLISHED, [Room("cpu", 11 * GB, 24 * GB, own)], Wish(context=2_000))
    assert plan.room == 13 * GB and plan.needs.total > 11 * GB


def test_a_device_that_tells_nothing_is_believed():
    assert choose(PUBLISHED, [Room("mps", None, 16 * GB)], Wish()).room == 16 * GB
    assert choose(PUBLISHED, [Room("mps", None, None)], Wish()).fits


def test_the_host_takes_the_text_side_only_beside_a_card_and_where_it_has_room():
    held = Held(None, "host")
    with pytest.raises(SettingError, match="only beside a graphics card"):
        choose(PUBLISHED, [processor(30)], Wish(held))
    assert choose(PUBLISHED, [card(10)], Wish(held)).needs.host
    with pytest.raises(SettingError, match=r"of main memory 5\.6 GB of 2\.0 GB"):
        choose(PUBLISHED, [card(10, host=2)], Wish(held))


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return testing.tiny_checkpoint(tmp_path_factory.mktemp("plan") / "tiny")


def test_the_type_of_the_files_is_read(tiny, tmp_path):
    assert measure(tiny, tiny / "codec").item == 4
    config = testing.tiny_config()
    save_model(DualFFN(config).bfloat16(), config, tmp_path, "original")
    assert measure(tmp_path, tiny / "codec").item == 2


def test_packed_files_stay_as_they_are(tiny, tmp_path):
    export(tiny, tmp_path / "int8", Quantization("int8", "int8"))
    packed = Held("int8", "int8")
    size = measure(tmp_path / "int8", tiny / "codec")
    assert size.packed == packed and size.weights == measure(tiny, tiny / "codec").weights
    for wish in (Wish(), Wish(automatic=True), Wish(packed._replace(group=32))):
        plan = fit(tmp_path / "int8", tiny / "codec", [Room()], wish)
        assert plan.held == packed
    with pytest.raises(SettingError, match="holds int8 weights and cannot be loaded as int4"):
        fit(tmp_path / "int8", tiny / "codec", [Room()], Wish(Held("int4", "int4")))


def test_packed_weights_without_kernels_are_told(tiny, monkeypatch):
    def noted(device, held):
        return fit(tiny, tiny / "codec", [device], Wish(held)).notes

    packed = Held("int8", None)
    monkeypatch.setattr(fitting, "find", lambda: Found(None, "no compiler"))
    assert noted(Room(), packed) == (
        "Warning: int8 with text full weights are slow here: no compiler.",
    )
    assert not noted(Room(), Held()) and not noted(card(8), packed)
    monkeypatch.undo()
    monkeypatch.setattr(fitting, "find", lambda: Found(object(), "compiled"))
    assert not noted(Room(), packed)


# --- measured -------------------------------------------------------------------------------------

SPEAK = r"""
import re, sys
from pathlib import Path
from faster_higgs.checkpoint.fit import fit, wish_for
from faster_higgs.config import EngineConfig
from faster_higgs.device import named
from faster_higgs.quant.quantization import Quantization
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
folder, side = Path(sys.argv[1]), sys.argv[2]
held = None if side == "full" else Quantization(side, side)
wish = wish_for(held, EngineConfig(slots=2, positions=512, chunk=64))
plan = fit(folder, folder / "codec", named("cpu"), wish)
with Higgs.load(folder, device=plan) as higgs:
    higgs.speak("Hello.", sampling=Sampling(seed=1, max_new_tokens=30))
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]
print(plan.needs.total, int(peak) * 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A model of 114 MB in bfloat16, and a tiny codec."""
    folder = tmp_path_factory.mktemp("large")
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "head_dim": 64}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    config = replace(testing.tiny_config(), **sizes, **heads)
    with torch.device("meta"):
        model = DualFFN(config).bfloat16()
    model.to_empty(device="cpu").initialize()
    save_model(model, config, folder, "transformers")
    save_codec(load_codec(tiny / "codec"), folder / "codec", "transformers")
    (folder / "tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_packed_weights_that_were_read_are_not_kept_beside_their_copies(large, tmp_path):
    done = export(large, tmp_path / "int8", Quantization("int8", "int8"))
    _, model = load_model(done.folder, text_head=False)
    assert model.norm.weight.numel() and resident(done.folder) < done.bytes / 4


def resident(folder: Path) -> int:
    """Bytes of files there that this process has in memory."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = str(folder) in line
        elif counts and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("held", ["full", "int8", "int4"])
def test_on_a_processor_the_peak_is_what_was_planned(large, held):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPEAK, str(large), held],
        capture_output=True,
        text=True,
        check=True,
    )
    planned, measured = map(int, done.stdout.split())
    assert planned == pytest.approx(measured, rel=0.1)
