"""The page: one HTML file that opens offline, without a script, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import jinja2
from markupsafe import Markup

from trainer.report.pictures import Tile
from trainer.report.tables import Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class TableBlock:
    """A table."""

    table: Table
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Plot:
    """An SVG with its caption."""

    title: str
    text: str
    svg: str
    kind: Literal["plot"] = "plot"


@dataclass(frozen=True)
class Strip:
    """Pictures beside each other: ``row`` scrolls sideways, ``wide`` fills the width with larger ones."""

    title: str
    text: str
    tiles: Sequence[Tile]
    size: Literal["row", "wide"] = "row"
    kind: Literal["strip"] = "strip"


@dataclass(frozen=True)
class Videos:
    """Videos beside each other."""

    videos: Sequence[Tile]
    kind: Literal["videos"] = "videos"


Block = Text | TableBlock | Plot | Strip | Videos


@dataclass(frozen=True)
class Section:
    """A part of the page with a title, and an id to link to."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All of it. ``facts`` are names and values above the sections."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str = ""

    def html(self) -> str:
        """As one document. Sections without a block are left out."""
        here = files("trainer.report")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string((here / "page.html").read_text())
        shown = [section for section in self.sections if section.blocks]
        style = Markup((here / "page.css").read_text())
        return template.render(**{**vars(self), "sections": shown, "style": style})
