"""Every setting of the service, and of the server that captures are annotated with, in one table.

Each is a flag (``--max-pixels 20000000``) and an environment variable (``NEARPOSE_MAX_PIXELS=20000000``); the flag
wins. ``python -m service --help`` prints the table, ``python -m service settings`` as it stands in docs/settings.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from index.encoder import Device
from index.schema import InvalidValueError
from index.stores import Address, is_milvus

Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s*]+)$")]
PublicPath = Annotated[str, Field(pattern=r"^/")]


def _location(value: str | Path) -> str:
    location = os.fspath(value)
    return str(Address.parse(location)) if is_milvus(location) else location


class ServerSettings(BaseSettings):
    """What every server of nearpose can be told: where it listens, what a request may cost, and who may ask."""

    model_config = SettingsConfigDict(cli_kebab_case=True, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: Device = Field(
        default="auto",
        description="what runs the encoder; openvino-bf16 is for CPUs with AMX: large networks run some four times as "
        "fast, and a vector's cosine to the exact one is .9998 and more",
    )
    poll_s: float = Field(
        default=1.0, gt=0, le=3600, description="seconds between two looks for a new version of the index"
    )

    max_body_bytes: int = Field(default=32 * 2**20, ge=1, description="largest request body; more is answered with 413")
    max_pixels: int = Field(
        default=50_000_000, ge=64, description="largest picture, width x height, whatever its file size"
    )
    body_s: float = Field(
        default=30, gt=0, description="seconds in which a body must be there, else 408; and a head, else it hangs up"
    )
    timeout_s: float = Field(default=60, gt=0, description="seconds in which an answer must begin; else 503")
    requests_per_minute: int = Field(
        default=0,
        ge=0,
        description="requests a minute of one API key, or without keys of one address; more are answered with 429; "
        "0 for any number; a key's own limit goes first; each process counts by itself",
    )

    api_keys: Path | None = Field(
        default=None,
        description="file of API keys, lines as `python -m service key <name>` prints them; read again when it "
        "changes; without it nobody needs a key",
    )
    public_paths: tuple[PublicPath, ...] = Field(
        default=("/", "/page/*", "/docs", "/openapi.json"),
        description="paths that need no key; one that ends in /* stands for all below it; by default those of the page",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(), description="origins (`https://example.org`) whose pages may ask; `*` for all"
    )

    shutdown_s: int = Field(
        default=30, ge=0, description="seconds that running requests are given when the service stops"
    )

    log_format: Literal["plain", "json"] = Field(
        default="plain", description="lines for people, or one JSON object a line"
    )


class Settings(ServerSettings):
    """How the service runs. Each flag is an environment variable, too: --max-pixels is NEARPOSE_MAX_PIXELS."""

    model_config = SettingsConfigDict(env_prefix="NEARPOSE_")

    index: Annotated[str, BeforeValidator(_location)] = Field(
        description="folder of the index, `<run>/index`, or `milvus:<file.db or URL>[#name]`; there may be none yet "
        "when the service starts"
    )
    samples: Path | None = Field(
        default=None,
        description="folder of pictures to try on the page: `<name>/image.jpg` and `fields.json`, or one such folder",
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes; they share the index's vectors and the port")
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="pictures that a process works on at the same time; 0: its share of the cores, four at most",
    )
    waiting: int = Field(
        default=64, ge=0, description="requests that may wait for a thread; more are answered with 503"
    )
    burst_ms: float = Field(default=500, ge=0, description="longest wait for a thread; then 503")
    overload_ms: float = Field(
        default=10,
        ge=0,
        description="the same while more is asked than can be answered, by a seventh; one may wait however slow they "
        "are, and 25 in a line that stands otherwise, within --burst-ms",
    )

    enrolment: Path | None = Field(
        default=None,
        description="file of what users enrol, on a local disk; by default enrolled.sqlite in the index's "
        "folder; needed where that is none",
    )
    enrolment_max_bytes: int = Field(
        default=4 * 2**30,
        ge=0,
        description="largest size of that file; 0 turns enrolment off, what is enrolled included",
    )

    drain_s: float = Field(
        default=0, ge=0, description="seconds between SIGTERM, from which on /readyz says 503, and the last request"
    )

    @model_validator(mode="after")
    def _knows_where_to_enrol(self) -> Self:
        if is_milvus(self.index) and self.enrolment is None and self.enrolment_max_bytes:
            bound = "a file, where the index is in Milvus; or --enrolment-max-bytes 0"
            raise InvalidValueError("enrolment", None, bound)
        return self

    @property
    def enrolment_file(self) -> Path:
        """Where what users enrol is kept."""
        return self.enrolment or Path(self.index) / "enrolled.sqlite"


class AnnotateSettings(ServerSettings):
    """How captures are annotated. Each flag is an environment variable, too: --port is NEARPOSE_ANNOTATE_PORT."""

    model_config = SettingsConfigDict(env_prefix="NEARPOSE_ANNOTATE_")

    captures: CliPositionalArg[Path] = Field(description="folder of captures, or one capture")
    index: Path | None = Field(default=None, description="folder of the index that proposes boxes, `<run>/index`")
    port: int = Field(default=8001, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    max_body_bytes: int = Field(default=2**20, ge=1, description="largest request body; more is answered with 413")
    public_paths: tuple[PublicPath, ...] = Field(
        default=("/", "/annotate", "/page/*", "/docs", "/openapi.json"),
        description="paths that need no key; one that ends in /* stands for all below it; by default those of the page",
    )


_GROUPS = {
    "Serving": (
        *("index", "samples", "host", "port", "device"),
        *("workers", "threads", "waiting", "burst_ms", "overload_ms", "poll_s"),
    ),
    "Limits": ("max_body_bytes", "max_pixels", "body_s", "timeout_s", "requests_per_minute"),
    "Enrolment": ("enrolment", "enrolment_max_bytes"),
    "Access": ("api_keys", "public_paths", "cors_origins"),
    "Stopping": ("drain_s", "shutdown_s"),
    "Log": ("log_format",),
}

_HEAD = """# Settings

What `python -m service` can be told. Each is a flag and an environment variable; the flag wins. Several values are
given as a JSON list, `'["/metrics", "/docs"]'`, or on the command line one flag each.

Traces are set by OpenTelemetry's own variables, [operations](operations.md) says how.
"""
_ANNOTATING = """
## Annotating

What `python -m service annotate <captures>` can be told: `--index` and the others. Its variables begin with
`NEARPOSE_ANNOTATE_`, `NEARPOSE_ANNOTATE_PORT` for one. Where nothing else is said here, they mean what they mean above.
"""
_TABLE = "\n| flag | variable | default | bound | |\n|---|---|---|---|---|\n"


def settings_table() -> str:
    """docs/settings.md: every setting with its default and bound, by group."""
    groups = (f"\n## {group}\n{_TABLE}" + "".join(_rows(Settings, names)) for group, names in _GROUPS.items())
    return _HEAD + "".join(groups) + _ANNOTATING + _TABLE + "".join(_rows(AnnotateSettings, _of_annotating()))


def _of_annotating() -> list[str]:
    """What the service has not, or with another default; the folder of captures is no flag."""
    known = {name: _default(field) for name, field in Settings.model_fields.items()}
    fields = AnnotateSettings.model_fields
    return [name for name in fields if name != "captures" and _default(fields[name]) != known.get(name)]


def _rows(settings: type[ServerSettings], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        field, prefix = settings.model_fields[name], settings.model_config["env_prefix"]
        flag = f"--{name.replace('_', '-')}"
        cells = (f"`{flag}`", f"`{prefix}{name.upper()}`", _default(field), _bound(settings, name), field.description)
        yield f"| {' | '.join(str(cell) for cell in cells)} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default == ():
        return "none"
    return f"`{json.dumps(field.default) if isinstance(field.default, tuple) else field.default}`"


def _bound(settings: type[ServerSettings], name: str) -> str:
    schema = settings.model_json_schema()["properties"][name]
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}
    return ", ".join(f"{sign} {json.dumps(schema[key])}" for key, sign in signs.items() if key in schema)
