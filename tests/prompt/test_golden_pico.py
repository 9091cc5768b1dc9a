"""pico's prompts, id by id: a change of its tokenizer, its phrases or its phones is seen here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.prompt.pico_prompts import Scribe, stored


@pytest.fixture(scope="module")
def scribe(tmp_path_factory: pytest.TempPathFactory) -> Scribe:
    return Scribe(tmp_path_factory.mktemp("pico"))


@pytest.mark.parametrize("line", stored(), ids=lambda line: line["name"])
def test_a_request_gives_the_ids_it_always_gave(scribe: Scribe, line: dict[str, Any]) -> None:
    assert scribe.ids(line["request"]) == line["ids"]
