"""What an operator's machinery asks: does it live, can it serve, what does its API look like."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from app.api.deps import CurrentServices
from app.api.keys import keyed_router
from app.api.problems import declared_answer, responses
from app.api.schemas import HealthView, ReadinessView
from app.core import errors
from app.core.domain import Role
from app.storage.health import look_at
from app.storage.revisions import newest_revision
from app.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["Operations"])
metrics_router = keyed_router(Role.METRICS, tags=["Operations"])


@router.head("/healthz", include_in_schema=False)
@router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Tell that the process lives",
    responses={200: declared_answer("It lives.", "getHealth"), **responses(errors.InternalError)},
    openapi_extra={"security": []},
)
async def health() -> HealthView:
    """Says nothing about the database: a process that waits for its database must not be killed for it."""
    return HealthView()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Tell whether requests can be served",
    responses={
        200: declared_answer("Ready.", "getReadiness"),
        503: {
            "model": ReadinessView,
            **declared_answer("Not ready; each check says what is wrong.", "getReadiness.503"),
        },
        **responses(errors.InternalError),
    },
    openapi_extra={"security": []},
)
async def readiness(services: CurrentServices, response: Response) -> ReadinessView:
    """Each check by its name: `ok`, or what is wrong and how to mend it."""
    checks = await _checks(services)
    ready = set(checks.values()) == {"ok"}
    if not ready:
        response.status_code = 503
    return ReadinessView(status="ready" if ready else "not_ready", checks=checks)


async def _checks(services: CurrentServices) -> dict[str, str]:
    health = await look_at(services.database)
    if health.cause is None:
        return {"database": "ok", "migrations": "ok"}
    if health.is_reachable:
        at = health.revision or "no revision"
        wanted = f"the database is at {at}, this version needs {newest_revision()}; run `idv migrate`"
        return {"database": "ok", "migrations": wanted}
    return {"database": f"{health.cause.words}. {health.cause.remedy}", "migrations": "unknown"}


@metrics_router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Read the metrics (Prometheus)",
    response_class=Response,
    responses={
        200: declared_answer("Prometheus's text format.", "getMetrics", "text/plain"),
        **responses(errors.Unauthorized, errors.Forbidden, errors.InternalError),
    },
)
async def metrics(services: CurrentServices) -> Response:
    """Requests, decisions, callbacks, calls to the provider and database connections.

    They are those of every process of this `idv serve`.
    """
    # In a thread: other requests are not held up by it.
    return Response(await asyncio.to_thread(services.metrics.render), media_type=CONTENT_TYPE)
