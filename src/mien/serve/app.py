"""The endpoints. `make_app` builds the ASGI app of one process."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.middleware.cors import CORSMiddleware

from mien import __version__
from mien.serve import problems
from mien.serve.answers import BODY, RESPONSES, NoQuery, PredictionsAnswer, Query, document
from mien.serve.bodies import pictures_of
from mien.serve.engine import Engine
from mien.serve.guard import Guard, read_keys
from mien.serve.metrics import Metrics
from mien.serve.page import add_page
from mien.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mien.pipeline import Pipeline
    from mien.serve.options import LimitOptions, ServeOptions

ABOUT = (
    "Finds the faces in pictures and classifies their expressions. An expression is not a feeling. In the "
    "European Union, inferring emotions at work and in education is prohibited (Regulation 2024/1689, article 5). "
    "Pictures are held in memory while a request is answered; they are neither stored nor logged."
)
JPEG = "image/jpeg"


def make_app(
    open_pipeline: Callable[[], Pipeline],
    options: ServeOptions,
    limits: LimitOptions,
    workers: int | None = None,
    page: Callable[[], Mapping[str, bytes] | None] = lambda: None,
) -> FastAPI:
    """Return the app; the pipeline is opened when the server starts.

    Raises:
        ConfigError: the file of API keys cannot be used.
    """
    metrics = Metrics()
    # Read here, so that a wrong file is an error now: middleware is made only at the first request.
    keys = read_keys(options.api_key_file) if options.api_key_file else []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = Engine(open_pipeline(), limits, metrics, workers)
        try:
            yield
        finally:
            engine, app.state.engine = app.state.engine, None
            await asyncio.get_running_loop().run_in_executor(None, engine.close)

    app = FastAPI(
        title="mien", version=__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.state.limits, app.state.metrics, app.state.engine = limits, metrics, None
    problems.install(app)
    _add_probes(app)
    _add_endpoints(app)
    add_page(app, page)
    app.add_middleware(Guard, options=options, keys=keys, state=app.state, metrics=metrics)
    if options.origins:  # around the guard: a browser asks without a key, and pages read why they are refused
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )
    return app


def _add_probes(app: FastAPI) -> None:
    """Add the addresses for monitoring: is the process alive, is the model loaded, what was counted?"""

    @app.get("/healthz", response_class=PlainTextResponse, tags=["operation"])
    async def healthz() -> str:
        """Say that the process lives."""
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, tags=["operation"], responses={503: RESPONSES[503]})
    async def readyz(request: Request) -> str:
        """Say whether the model is loaded and requests are answered."""
        _engine(request)
        return "ready"

    @app.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    async def metrics(request: Request) -> Response:
        """Return counts and times in the form of Prometheus."""
        return Response(
            request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )


def _add_endpoints(app: FastAPI) -> None:
    answers = {**RESPONSES, 200: {"model": PredictionsAnswer, "content": {JPEG: {}}}}

    @app.post("/v1/predict", responses=answers, openapi_extra=BODY, tags=["faces"], response_model=None)
    async def predict(request: Request, query: Annotated[Query, fastapi.Query()]) -> Response:
        """Find the faces in one or many pictures and classify their expressions.

        With the header `Accept: image/jpeg`, the answer to one picture is that picture with boxes and labels.
        """
        return await _answer(request, crops=False, annotated=query.annotated)

    @app.post("/v1/classify", responses=answers, openapi_extra=BODY, tags=["faces"], response_model=None)
    async def classify(request: Request, _: Annotated[NoQuery, fastapi.Query()]) -> Response:
        """Classify crops: each picture is taken as one face, as a whole."""
        return await _answer(request, crops=True, annotated=False)

    @app.get("/v1/models", tags=["faces"])
    async def models(request: Request) -> dict[str, Any]:
        """Return the model that answers, what it is shown, and the limits of a request."""
        engine = _engine(request)
        classifier, limits = engine.pipeline.classifier, engine.limits
        facts = engine.facts(crops=False)
        one = {
            **facts["model"],
            "backend": facts["backend"],
            "preprocess": classifier.preprocess.model_dump(),
        }
        settings = {name: facts[name] for name in ("version", "detector", "views", "uncertain_below")}
        return {"models": [one], **settings, "limits": {
            "body_bytes": limits.max_body_bytes, "pixels": limits.max_pixels, "pictures": limits.max_pictures,
            "faces": limits.max_faces, "seconds": limits.timeout_s,
        }}  # fmt: skip


def _engine(request: Request) -> Engine:
    engine: Engine | None = request.app.state.engine
    if engine is None:
        raise Problem(503, "the service is starting or stopping", {"Retry-After": "5"})
    return engine


async def _answer(request: Request, *, crops: bool, annotated: bool) -> Response:
    """Read the pictures, process them and answer, within the time limit of a request."""
    engine = _engine(request)
    as_picture = JPEG in request.headers.get("accept", "") and not crops
    async with asyncio.timeout(engine.limits.timeout_s):
        begun = time.perf_counter()
        with engine.gate.body() as count:
            pictures = await pictures_of(request, engine.limits, count)
            engine.metrics.stage.labels("read").observe(time.perf_counter() - begun)
            if as_picture and len(pictures) > 1:
                raise Problem(422, "Accept: image/jpeg is for one picture: use ?annotated=true for several")
            results = await engine.results(pictures, crops=crops)
            if all(result.error for result in results):
                raise Problem(422, results[0].error or "")
            wanted = annotated or as_picture
            drawn = [
                await engine.drawn(result) if wanted and not result.error else None for result in results
            ]
    if as_picture and drawn[0] is not None:
        return Response(drawn[0], media_type=JPEG)
    return JSONResponse(document(engine.facts(crops=crops), results, drawn))
