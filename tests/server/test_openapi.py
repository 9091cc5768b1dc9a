"""/openapi.json is true: no request makes the server answer with what is not written there."""

from __future__ import annotations

from dataclasses import fields

import pytest

from faster_higgs.server.app import create_app
from faster_higgs.server.errors import GONE, KINDS
from faster_higgs.server.settings import ServerSettings
from faster_higgs.testing import FakeHiggs

pytest.importorskip("schemathesis", reason="needs Python 3.11 or newer")

from tests.server.fuzz import Fuzz

pytestmark = pytest.mark.filterwarnings("ignore")  # schemathesis tells of its own future

SHORT, LONG = 300, 5_000


@pytest.fixture
def app(tmp_path):
    kept = {one.name: str(tmp_path) for one in fields(ServerSettings) if one.name == "jobs_dir"}
    with FakeHiggs() as higgs:
        yield create_app(higgs, ServerSettings(warmup=False, **kept))


def test_random_requests_are_answered_as_it_is_written(app):
    fuzz = Fuzz(app, each=6)
    fuzz.run(SHORT)
    assert fuzz.cases >= SHORT
    assert {200, 400, 404, 422} <= {status for _, status in fuzz.answers}


@pytest.mark.slow
def test_thousands_of_random_requests_are(app):
    fuzz = Fuzz(app, seed=1)
    fuzz.run(LONG)
    assert fuzz.cases >= LONG
    print(*sorted(fuzz.answers.items()), sep="\n")  # noqa: T201


@pytest.mark.parametrize("status", [418, 500])
def test_an_answer_that_is_not_written_there_is_found(app, status):
    async def odd() -> None:
        raise HTTPException(status, "Odd")

    from fastapi import HTTPException

    app.inner.add_api_route("/v1/odd", odd)
    app.inner.openapi_schema = None
    with pytest.raises(BaseException, match=str(status)):
        Fuzz(app, only="/v1/odd").run(2)


def test_every_error_is_written_where_speech_is_asked_for(app):
    paths = app.inner.openapi()["paths"]
    for path in ("/v1/audio/speech", "/generate"):
        written = paths[path]["post"]["responses"].keys()
        assert {str(kind.status) for _, kind in KINDS if kind.status != GONE} <= written
