"""One picture for people to look at: objects of every category, each from several sides."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from tqdm import tqdm

from trainer.demo.film import DemoConfig, Take, stage, takes, walk
from trainer.demo.render import Image, Renderer


def contact_sheet(config: DemoConfig, views: int = 3) -> Image:
    """A row a category, of its ``train_objects`` one beside the other, each in ``views`` pictures of its video."""
    rows: dict[str, list[Image]] = {}
    for take in tqdm(takes(config), "contact sheet", unit="object"):
        rows.setdefault(take.category, []).extend(_views(config, take, views))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows.values()])


def _views(config: DemoConfig, take: Take, views: int) -> Iterator[Image]:
    scene = stage(config, take)
    camera, cameras_from_scene = walk(config, take, scene)
    renderer = Renderer(scene)
    for number in np.linspace(0, config.frames, views, endpoint=False).astype(int):
        yield renderer.render(camera, cameras_from_scene[number])


def write_picture(path: str, picture: Image) -> None:
    """Write an RGB picture in the format of its name's ending."""
    if not cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: cannot be written")
