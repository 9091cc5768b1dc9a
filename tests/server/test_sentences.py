"""What is told to who asks wrongly: for people, not for who knows our libraries."""

from __future__ import annotations

import pytest

from faster_higgs.errors import SettingError
from faster_higgs.server.settings import ServerSettings


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("/v1/audio/speech", {"input": 5}, "input: Input should be a text."),
        ("/v1/audio/speech", {"input": "a", "speed": "fast"}, "speed: Input should be a number."),
        ("/v1/audio/speech/batch", {"items": ["a"]}, "items.0: Input should be a JSON object."),
        (
            "/v1/audio/speach",
            {"input": "a"},
            "There is no POST /v1/audio/speach here; GET /openapi.json lists what is.",
        ),
    ],
)
def test_a_mistake_is_told_in_plain_words(live, path, fields, told):
    assert live.ask(path, fields).error["message"] == told


def test_a_wrong_method_is_told_the_right_one(live):
    reply = live.ask("/v1/audio/speech")
    assert (reply.status, reply.error["message"]) == (
        405,
        "GET /v1/audio/speech is not answered; send POST.",
    )


def test_a_wrong_key_is_found_by_its_place_and_not_told():
    with pytest.raises(SettingError, match="API key 2 of 2: a key needs 8") as caught:
        ServerSettings(api_keys=("long-enough", "short"))
    assert "short" not in str(caught.value)
