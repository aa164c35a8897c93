"""The web page at ``/``, the API's documentation at ``/docs``, and the sample queries that the page offers.

Everything that the two load comes from here: files of this package, under the Content-Security-Policy of all answers
(``service.middleware``), which allows no other host and nothing inline.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from service.forms import CameraField, PlaneField
from service.openapi import refusals

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
_JPEG = {"schema": {"type": "string", "format": "binary"}}


class SampleFields(BaseModel):
    """What `POST /pose` takes beside a picture: a sample's ``fields.json``."""

    camera: CameraField
    plane: PlaneField | None = None
    rect: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1, pixels.")


class SampleAnswer(SampleFields):
    """A query to try."""

    name: str
    image: str = Field(description="Where the picture is.")


class SamplesAnswer(BaseModel):
    """What there is to try."""

    samples: list[SampleAnswer]


class _Files(StaticFiles):
    """The page's files. A browser asks each time whether they have changed: 304 costs little, an old script much."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


_files = _Files(directory=PAGE)
_pages = APIRouter(include_in_schema=False)
_docs = APIRouter(include_in_schema=False)
_samples = APIRouter(tags=["samples"])


async def page_file(name: str, request: Request) -> Response:
    """A file of the page's folder."""
    return await _files.get_response(name, request.scope)


@_pages.get("/")
async def page(request: Request) -> Response:
    """The web page."""
    return await page_file("index.html", request)


@_docs.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI."""
    return await page_file("docs.html", request)


async def _folders(request: Request) -> dict[str, Path]:
    """The samples' folders by name: ``settings.samples`` itself, or those in it."""
    root: Path | None = request.app.state.samples
    if root is None or not root.is_dir():
        return {}
    folders = [root, *sorted(root.iterdir())]
    complete = [folder for folder in folders if all((folder / name).is_file() for name in ("image.jpg", "fields.json"))]
    return {folder.absolute().name: folder for folder in complete}


Folders = Annotated[dict[str, Path], Depends(_folders)]


@_samples.get("/samples")
def samples(request: Request, folders: Folders) -> SamplesAnswer:
    """Queries to try, if the service was given some."""
    root = request.scope.get("root_path", "")
    found = (_sample(name, folder, f"{root}/samples/{quote(name)}/image.jpg") for name, folder in folders.items())
    return SamplesAnswer(samples=[sample for sample in found if sample])


@_samples.get(
    "/samples/{name}/image.jpg",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": _JPEG}}, **refusals(_404="No such sample.")},
)
async def sample_image(name: str, request: Request, folders: Folders) -> Response:
    """The picture of a sample."""
    if name not in folders:  # a name that is looked up, never a path that is put together
        raise HTTPException(404, "name: there is no such sample")
    return FileResponse(folders[name] / "image.jpg", headers={"Cache-Control": "no-cache"})


def _sample(name: str, folder: Path, image: str) -> SampleAnswer | None:
    try:
        fields = SampleFields.model_validate_json((folder / "fields.json").read_bytes())
    except (OSError, ValidationError) as error:
        logger.warning("sample %s left out: %s", name, error)
        return None
    return SampleAnswer(**dict(fields), name=name, image=image)


def install(app: FastAPI, samples: Path | None, **router_options: Any) -> None:
    """Adds the page, the documentation and the samples to ``app``.

    Args:
        app: made with ``docs_url=None``.
        samples: a folder with ``image.jpg`` and ``fields.json``, or of such folders; None where there are none.
        router_options: of ``include_router``, for the samples.
    """
    app.state.samples = samples
    app.include_router(_pages)
    app.include_router(_samples, **router_options)
    install_files(app)


def install_files(app: FastAPI) -> None:
    """Adds the documentation to ``app``, made with ``docs_url=None``, and the files of all pages."""
    app.include_router(_docs)
    app.mount("/page", _files, name="page")
