"""The HTTP application over one loaded model. Knows nothing of what the endpoints do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from faster_higgs.errors import HiggsError
from faster_higgs.server import (
    admin,
    batch,
    chat,
    consents,
    dialogue,
    health,
    jobs,
    models,
    page,
    seeds,
    socket,
    speak,
    timestamps,
    voice_check,
    voices,
)
from faster_higgs.server.body import invalid
from faster_higgs.server.described import Described
from faster_higgs.server.engine import Admit, Engine, as_asked
from faster_higgs.server.errors import LONGEST_VALUE, Refusal, bad, refusal, shortened
from faster_higgs.server.gate import Gate
from faster_higgs.server.keeper import Load
from faster_higgs.server.service import Facts, Service, no_facts
from faster_higgs.server.settings import ServerSettings
from faster_higgs.server.starting import load_late

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
ROUTES = (
    *(speak.router, batch.router, timestamps.router, dialogue.router, chat.router, socket.router),
    *(models.router, voice_check.router, voices.router, consents.router, jobs.router),
    *(seeds.router, health.router, admin.router, page.router),
)


def create_app(
    higgs: Engine,
    settings: ServerSettings | None = None,
    *,
    model: str = "higgs-audio-v2",
    facts: Facts = no_facts,
    load: Load | None = None,
    admit: Admit = as_asked,
    settle: Callable[[], None] = lambda: None,
) -> Gate:
    """The application. `model` is the id it goes by first; `facts` is what /health tells of the
    machine; `load` makes the model anew, after it was unloaded; `admit` refuses orders that this
    engine cannot follow; `settle` is called when all is loaded, by who owns the process."""
    settings = settings or ServerSettings()
    service = Service(higgs, settings, models.ids_of(model), facts, load, admit, settle)
    # Its pages of documentation would fetch scripts from elsewhere; the description is enough.
    app = Described(title="Faster Higgs", docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.service = service
    for router in ROUTES:
        app.include_router(router)
    for family, handler in _HANDLERS:
        app.add_exception_handler(family, handler)
    return Gate(
        _with_origins(app, settings.cors_origins), settings, service.ledger, service.refuse_new
    )


def _with_origins(app: FastAPI, origins: Sequence[str]) -> FastAPI:
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=[
                *("X-Request-Id", "X-Seed", "X-Sample-Rate", "X-Voice", "X-Take", "Retry-After")
            ],
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.jobs.load()
    await load_late(app)
    service.settle()  # here it takes a quarter of a second, after the first speech little
    tasks = [asyncio.create_task(_warm(service)), asyncio.create_task(_rest(service))]
    try:
        yield
    finally:
        service.ready = False
        for task in tasks:
            task.cancel()
        await service.jobs.close()
        await service.desk.close()


async def _warm(service: Service) -> None:
    """Ready is who can speak; a model that cannot is told in the log, and never gets ready."""
    try:
        if service.settings.warmup:
            await service.warm_up()
            service.settle()
        service.ready = True
        service.jobs.begin()
    except HiggsError as error:
        logging.getLogger(__name__).error("The model cannot speak: %s", error)
    except Exception:
        logging.getLogger(__name__).exception("The model cannot speak.")


async def _rest(service: Service) -> None:
    """Lets the weights go whenever nobody has spoken for a while."""
    idle = service.settings.idle_unload_s
    while idle:
        await asyncio.sleep(min(idle / 4, 5.0))
        await asyncio.to_thread(service.keeper.unload_if_idle, idle)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return refusal(error).answer(request.url.path)


async def _wrong(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if unlike := _other_kind(request):
        return unlike.answer(request.url.path)
    if request.url.path.startswith("/v1/"):
        return invalid(error.errors()).answer(request.url.path)
    told = [
        {"type": one["type"], "loc": [_short(part) for part in one["loc"]], "msg": one["msg"]}
        for one in error.errors()
    ]
    return JSONResponse({"detail": told}, 422)


def _other_kind(request: Request) -> Refusal | None:
    """What is said to a body that does not call itself what its endpoint reads."""
    route = request.scope.get("route")
    body = getattr(route, "body_field", None)
    if body is None:
        return None
    kind = request.headers.get("content-type", "")
    form = isinstance(body.field_info, params.Form)
    plain = kind.partition(";")[0].strip().lower()
    if plain in FORMS if form else plain == "application/json" or plain.endswith("+json"):
        return None
    wanted = FORMS[0] if form else "application/json"
    sent = f"as '{plain}'" if plain else "without saying what it is"
    message = f"The body was sent {sent}; send it with Content-Type: {wanted}."
    return Refusal(415, message, "unsupported_media_type")


def _short(part: str | int) -> str | int:
    return shortened(part[:LONGEST_VALUE]) if isinstance(part, str) else part


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Refusal):  # the body was too large while it was read
        return error.__cause__.answer(request.url.path)
    path = request.url.path
    if isinstance(error.__cause__, UnicodeDecodeError):
        return bad("The body is not UTF-8 text.", None, "invalid_json").answer(path)
    if "form-data" in request.headers.get("content-type", "") and error.status_code == 400:
        return bad(f"The form cannot be read: {error.detail}", None, "invalid_form").answer(path)
    headers = dict(error.headers or {})
    asked, code = f"{request.method} {path[:200]}", "invalid_request"
    message = f"{error.detail}: {asked}"
    if error.status_code == 404:
        message, code = f"There is no {asked} here; GET /openapi.json lists what is.", "not_found"
    elif error.status_code == 405:
        allowed = headers.get("Allow", "another method")
        message, code = f"{asked} is not answered; send {allowed}.", "method_not_allowed"
    elif error.status_code == 400:  # JSON too deep, or with a number too long
        message, code = "The body is not JSON that can be read.", "invalid_json"
    return Refusal(error.status_code, message, code, headers=headers).answer(path)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logging.getLogger(__name__).error(
        "%s %s failed (%s).",
        request.method,
        request.url.path,
        request.scope["state"].get("request_id"),
    )
    return refusal(error).answer(request.url.path)


_HANDLERS = (
    (Refusal, _refused),
    (HiggsError, _refused),
    (RequestValidationError, _wrong),
    (HTTPException, _http),
    (Exception, _unexpected),
)
