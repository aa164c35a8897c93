"""Every setting of the service, in one table.

Each is a flag (``--max-pixels 20000000``) and an environment variable (``NEARPOSE_MAX_PIXELS=20000000``); the flag
wins. ``python -m service --help`` prints the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How the service runs. Each flag is an environment variable, too: --max-pixels is NEARPOSE_MAX_PIXELS."""

    model_config = SettingsConfigDict(env_prefix="NEARPOSE_", cli_kebab_case=True, frozen=True, extra="forbid")

    index: Path = Field(description="folder of the index, <run>/index; may still be empty when the service starts")
    samples: Path | None = Field(
        default=None,
        description="folder of pictures to try on the page: <name>/image.jpg and fields.json, or one such folder",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: Literal["auto", "openvino", "cuda", "torch-cpu"] = Field(
        default="auto", description="what runs the encoder"
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes; they share the index's vectors and the port")
    threads: int = Field(default=4, ge=1, le=256, description="pictures that a process works on at the same time")
    waiting: int = Field(
        default=64, ge=0, description="requests that may wait for a thread; more are answered with 503"
    )
    burst_ms: float = Field(default=500, ge=0, description="longest wait for a thread; then 503")
    standing_ms: float = Field(
        default=40, ge=0, description="the same where the line has not been empty for 100 ms: under too much load"
    )
    max_body_bytes: int = Field(default=32 * 2**20, ge=1, description="largest request body; more is answered with 413")
    max_pixels: int = Field(
        default=50_000_000, ge=64, description="largest picture, width x height, whatever its file size"
    )
    poll_s: float = Field(default=1.0, gt=0, description="seconds between two looks for a new version of the index")
    shutdown_s: int = Field(
        default=30, ge=0, description="seconds that running requests are given when the service stops"
    )
    log_format: Literal["plain", "json"] = Field(
        default="plain", description="lines for people, or one JSON object a line"
    )
