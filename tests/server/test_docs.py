"""docs/server.md names every field, setting, endpoint and error there is."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from faster_higgs.cli.environment import ELSEWHERE, FLAGS, IDLE
from faster_higgs.server import messages, socket
from faster_higgs.server.app import create_app
from faster_higgs.server.batch import BatchBody
from faster_higgs.server.body import SpeechBody
from faster_higgs.server.dialogue import DialogueBody, Speaker, Turn
from faster_higgs.server.errors import KINDS, UNKNOWN
from faster_higgs.server.settings import PREFIX, ServerSettings
from faster_higgs.server.timestamps import TimedBody
from faster_higgs.testing import FakeHiggs
from tests.project.source import PACKAGE, ROOT
from tests.server.conftest import SECONDS_PER_CHARACTER, serving

PAGE = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")


BODIES = (SpeechBody, BatchBody, TimedBody, DialogueBody, Speaker, Turn)


@pytest.mark.parametrize("name", sorted({name for body in BODIES for name in body.model_fields}))
def test_a_field_is_there(name):
    assert f"`{name}`" in PAGE or f'"{name}": ' in PAGE


@pytest.mark.parametrize("name", [one.name for one in fields(ServerSettings)])
def test_a_setting_is_there(name):
    assert f"`{PREFIX}{name.upper()}`" in PAGE


def test_no_setting_is_there_that_is_not():
    named = set(re.findall(r"`(HIGGS_[A-Z_]+)`", PAGE))
    beside = {*ELSEWHERE, *IDLE, *sum(FLAGS.values(), ())}
    assert named == ServerSettings.variables().keys() | beside


def test_every_metric_is_there():
    with FakeHiggs() as higgs:
        text = create_app(higgs).inner.state.service.metrics().decode()
    found = re.findall(r"# TYPE higgs_(\S+) ", text)
    names = [name for name in found if not name.endswith("_created")]  # the library's own
    assert len(names) > 20
    assert not [name for name in names if f"`{name}`" not in PAGE and f"`{name}{{" not in PAGE]


@pytest.mark.parametrize(
    "code", [kind.code for _, kind in KINDS if kind.status < 499 or kind.status > 499]
)
def test_an_error_is_there(code):
    assert f"`{code}`" in PAGE and f"`{UNKNOWN.code}`" in PAGE


def test_every_code_of_the_page_is_in_the_code():
    source = "".join(path.read_text() for path in (PACKAGE / "server").glob("*.py"))
    table = PAGE[PAGE.index("## Errors") : PAGE.index("## Settings")]
    assert all(f'"{code}"' in source for code in re.findall(r"`([a-z]+_[a-z_]+)`", table))


def test_every_endpoint_is_there():
    with FakeHiggs() as higgs:
        paths = create_app(higgs).inner.openapi()["paths"]
    missing = [path for path in paths if f"{re.sub('{.*?}', '{id}', path)}" not in PAGE]
    assert not missing


def test_what_a_session_may_be_told_is_there():
    paths = [route.path for route in socket.router.routes]
    named = [*messages.FIELDS, *messages.Ways.model_fields]
    assert all(f"`{name}`" in PAGE for name in named) and all(path in PAGE for path in paths)


def test_the_session_of_the_page_is_spoken(tmp_path, monkeypatch):
    begin = PAGE.index("import json\nfrom websockets")
    code = PAGE[begin : PAGE.index("```", begin)]
    monkeypatch.chdir(tmp_path)
    with FakeHiggs() as higgs, serving(higgs, warmup=False) as live:
        exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{live.port}"), {})
    text = "This is spoken.While this is still being written."
    assert (tmp_path / "speech.pcm").stat().st_size / 48_000 == len(text) * SECONDS_PER_CHARACTER
