"""What the routes of every file stand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request

from service.answers import ImageUrl, NeighborsAnswer, PoseAnswer
from service.engine import Engine
from service.enrolment.enrol import Enroller
from service.enrolment.followed import Enrolment
from service.live import LiveIndex
from service.metrics import Metrics
from service.tracing import Tracing
from service.workers import Workers

Answer = TypeVar("Answer", PoseAnswer, NeighborsAnswer)


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes stand on."""

    live: LiveIndex
    engine: Engine
    workers: Workers
    enrolment: Enrolment
    enroller: Enroller
    metrics: Metrics
    tracing: Tracing

    async def answer(self, work: Callable[[], Answer]) -> Answer:
        """The answer of ``work()``, done by a worker; its timings go to the metrics and the trace."""
        answer = await self.workers.run(work)
        milliseconds = dict(answer.timing_ms)
        self.metrics.observe_stages(milliseconds)
        self.tracing.add_stages(milliseconds)
        return answer


# Coroutines, although they wait for nothing: FastAPI hands plain functions to a thread, which takes longer than they.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _image_url(request: Request) -> ImageUrl:
    root = request.scope.get("root_path", "")
    return lambda frame: f"{root}/frames/{quote(frame)}/image.jpg"


Running = Annotated[Service, Depends(_service)]
Link = Annotated[ImageUrl, Depends(_image_url)]
