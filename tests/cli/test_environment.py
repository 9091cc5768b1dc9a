"""Variables for `higgs serve`: ours, those of another server, and those that are neither."""

from __future__ import annotations

import pytest

from faster_higgs.cli.environment import FLAGS, IDLE, completed, in_vain
from faster_higgs.cli.serve import ServeFlags
from faster_higgs.errors import SettingError
from faster_higgs.sampling import Sampling
from faster_higgs.server.body import SpeechBody
from faster_higgs.server.order import order_of
from faster_higgs.server.settings import ALIASES, ServerSettings

# Every variable of the other server, as its page has them.
THEIRS = """LOG_LEVEL MODEL_ID AUDIO_TOKENIZER_ID TOKENIZER_ID SYSTEM_PROMPT MAX_NEW_TOKENS
TEMPERATURE TOP_P TOP_K RAS_WIN_LEN RAS_WIN_MAX_REPEAT RESPONSE_FORMAT DOWNLOAD_TIMEOUT DEVICE
TORCH_DTYPE"""


def settings(**told: str) -> ServerSettings:
    return ServerSettings(**ServerSettings.given({f"HIGGS_{k}": v for k, v in told.items()}))


def test_every_variable_of_the_other_server_is_known():
    names = {f"HIGGS_AUDIO_{name}" for name in THEIRS.split()}
    assert names <= {*ALIASES, *IDLE, *sum(FLAGS.values(), ())}
    assert in_vain(dict.fromkeys(names, "auto")) == []


def test_theirs_mean_the_same_and_ours_go_first():
    told = settings(
        AUDIO_TEMPERATURE="0.7",
        AUDIO_TOP_P="0.8",
        AUDIO_TOP_K="20",
        AUDIO_RAS_WIN_LEN="5",
        AUDIO_RAS_WIN_MAX_REPEAT="3",
        AUDIO_MAX_NEW_TOKENS="1024",
        AUDIO_SYSTEM_PROMPT="Speak.",
        AUDIO_RESPONSE_FORMAT="wav",
        AUDIO_DOWNLOAD_TIMEOUT="12",
        AUDIO_LOG_LEVEL="INFO",
        DEFAULT_TEMPERATURE="0.5",
    )
    order = order_of(SpeechBody(input="Hello.", seed=1), told)
    assert order.sampling == Sampling(0.5, 20, 0.8, 0.0, 5, 3, 1, 1024)
    assert (order.delivery.system, order.format) == ("Speak.", "wav")
    assert (told.download_timeout_s, told.log_level) == (12, "info")


def test_an_empty_one_turns_off_what_it_names():
    told = settings(AUDIO_TOP_P="", AUDIO_TOP_K="", AUDIO_TEMPERATURE="", AUDIO_RAS_WIN_LEN="-1")
    sampling = order_of(SpeechBody(input="Hello."), told).sampling
    assert (sampling.top_p, sampling.top_k, sampling.ras_window) == (1.0, 0, 0)
    assert sampling.temperature == Sampling().temperature


def test_what_a_request_says_goes_before_both():
    body = SpeechBody(input="Hello.", top_k=7, max_tokens=99, system_prompt="Sing.")
    order = order_of(body, settings(DEFAULT_TOP_K="3", DEFAULT_MAX_NEW_TOKENS="50"))
    assert (order.sampling.top_k, order.sampling.max_new_tokens) == (7, 99)
    assert order.delivery.system == "Sing."


def test_flags_go_before_variables():
    told = {
        "HIGGS_AUDIO_MODEL_ID": "a/b",
        "HIGGS_AUDIO_DEVICE": "cuda:1",
        "HIGGS_PRECISION": "int8",
        "HIGGS_CONTEXT": "4096",
    }
    found = completed(ServeFlags(precision="int4"), told)
    assert (found.model, found.device) == ("a/b", "cuda:1")
    assert (found.precision, found.context) == ("int4", 4096)
    assert completed(ServeFlags(), told | {"HIGGS_DEVICE": "cpu"}).device == "cpu"
    assert completed(ServeFlags(), told | {"HIGGS_MODEL": "c"}).model is None  # read later
    assert completed(ServeFlags(), {}) == ServeFlags()
    with pytest.raises(SettingError, match="HIGGS_CONTEXT is 'many'"):
        completed(ServeFlags(), {"HIGGS_CONTEXT": "many"})


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("HIGGS_MAX_RUNING", "3", "there is no setting HIGGS_MAX_RUNING; did you mean HIGGS_MAX_R"),
        ("HIGGS_XYZZY_PLUGH_Q", "3", "there is no setting HIGGS_XYZZY_PLUGH_Q."),
        ("HIGGS_AUDIO_TORCH_DTYPE", "float16", "no effect: weights are as in the files"),
        ("HIGGS_AUDIO_TOKENIZER_ID", "a/b", "no effect: the text tokenizer comes with the model"),
    ],
)
def test_what_is_said_in_vain_is_told(name, value, note):
    (told,) = in_vain({name: value, "PATH": "/", "HIGGS_PORT": "1", "HIGGS_VOICES": "x"})
    assert told.startswith("Warning: ") and note in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "loud"),
        ("METRICS_COMPAT", "other"),
        ("DEFAULT_TOP_K", "x"),
        ("METRICS_PORT", "70000"),
        ("KEY_CONCURRENT", "-1"),
        ("MAX_REFERENCE_S", "0"),
    ],
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(SettingError, match=name.lower() if value != "x" else name):
        settings(**{name: value})
