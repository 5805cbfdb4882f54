"""GET /v1/codecs, /healthz, /readyz and /metrics: what a server serves, and how it is."""

from __future__ import annotations

from fastapi import APIRouter, Response

from codec.serve.metrics import TEXT_TYPE
from codec.serve.models import Served
from codec.serve.problems import busy
from codec.serve.shapes import PROBLEMS, CodecReply, CodecsReply, Quality
from codec.serve.state import Caller, Shared

router = APIRouter(responses=PROBLEMS)


@router.get("/v1/codecs")
async def codecs(state: Shared, _device: Caller) -> CodecsReply:
    """The codecs that are served."""
    return CodecsReply(codecs=[_facts(served) for served in state.codecs.values()])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def ready(state: Shared) -> dict[str, str]:
    """The workers run, and there is room for a request of a device that has none waiting."""
    for name, queue in state.workers:
        if not queue.is_running:
            raise busy(f"{name}: its worker does not run")
        if not queue.has_room:
            raise busy(f"{name}: {queue.n_waiting} requests wait already, each of another device")
    return {"status": "ready"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {TEXT_TYPE: {"schema": {"type": "string"}}}}},
)
async def metrics(state: Shared) -> Response:
    """Prometheus' text."""
    return Response(state.metrics.text(), media_type=TEXT_TYPE)


def _facts(served: Served) -> CodecReply:
    config = served.codec.config
    rows = enumerate(config.calibration)
    return CodecReply(
        name=served.name,
        fingerprint=served.codec.fingerprint.hex(),
        tasks=served.verbs,
        default_quality=config.default_quality,
        calibration=[Quality(quality=q, drop=row.drop, bytes=row.bytes_mean) for q, row in rows],
        n_labels=len(served.server.labels),
    )
