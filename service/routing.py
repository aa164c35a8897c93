"""What the routes of every file stand on, and what they say of their refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request

from service import problems
from service.answers import ImageUrl
from service.engine import Engine
from service.enrol import Enroller
from service.followed import Enrolment
from service.live import LiveIndex
from service.workers import Workers


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes stand on."""

    live: LiveIndex
    engine: Engine
    workers: Workers
    enrolment: Enrolment
    enroller: Enroller


# Coroutines, although they wait for nothing: FastAPI hands plain functions to a thread, which takes longer than they.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _image_url(request: Request) -> ImageUrl:
    root = request.scope.get("root_path", "")
    return lambda frame: f"{root}/frames/{quote(frame)}/image.jpg"


Running = Annotated[Service, Depends(_service)]
Link = Annotated[ImageUrl, Depends(_image_url)]


def refusals(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problems that a route answers with: ``_422="..."`` for a status, ``default`` for all."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status.removeprefix("_"): {"description": description, "content": content}
        for status, description in descriptions.items()
    }
