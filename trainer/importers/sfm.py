"""Photos or a video without poses: structure from motion by ``pycolmap``, and a clear word where it fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from index.picture import encode_jpeg
from index.video import video_frames
from trainer.captures.shot import CaptureError, decode_image
from trainer.captures.video import Sampler
from trainer.importers.colmap import load_pycolmap, recording_of
from trainer.importers.files import PICTURES, VIDEOS, natural
from trainer.importers.recording import Recording
from trainer.importers.settings import ImportConfig

_SIDE = 1600  # features are looked for no finer
_MOST = 400  # more pictures take hours on two cores
_FEW = 60  # so many are all compared with each other
_NEIGHBOURS = 8  # in a video: so many that follow, then 16, 32, ... further on, so that a walk around closes
_LEAST = 3
_CHUNK = 50  # pairs between two steps of the progress bar
_LEAST_FEATURES = 150
_LEAST_PARALLAX_DEG = 4.0
_LEAST_SHARE = 0.6


def recognises(source: Path) -> bool:
    return source.suffix.lower() in VIDEOS if source.is_file() else bool(_photos(source))


def _photos(source: Path) -> list[Path]:
    for folder in (source, source / "images"):
        found = [path for path in folder.glob("*") if path.suffix.lower() in PICTURES]
        if found:
            return sorted(found, key=lambda path: natural(path.name))
    return []


def read(source: Path, config: ImportConfig, work: Path) -> Recording:
    """The recording of a video, or of the photos in a folder; upright copies are written to ``work``.

    Raises CaptureError saying what was wrong with the pictures: too few, too little texture, no parallax, or too few
    of them fit together.
    """
    pycolmap = load_pycolmap(source)
    video = source.is_file()
    pictures = work / "pictures"
    pictures.mkdir()
    written = _video_pictures(source, pictures, config.fps) if video else _photo_pictures(_photos(source), pictures)
    names = list(itertools.islice(written, _MOST + 1))
    if len(names) < _LEAST:
        raise CaptureError(source, f"{len(names)} pictures: structure from motion needs {_LEAST} or more")
    if len(names) > _MOST:
        raise CaptureError(source, f"more than {_MOST} pictures: film shorter, or give a smaller --fps")
    focal = config.focal or (None if video else _exif_focal(_photos(source)[0]))
    model = _solve(pycolmap, source, work, names, _first_camera(pictures / names[0], focal), config.threads)
    recording = _checked(source, recording_of(model, pictures, "structure from motion"), len(names))
    if video:
        times = {frame.file.name: int(frame.file.stem) / 1000 for frame in recording.frames}
        frames = tuple(replace(frame, time_s=times[frame.file.name]) for frame in recording.frames)
        recording = replace(recording, frames=frames)
    return recording.noted(_told(model, config.focal, focal))


def _video_pictures(video: Path, out: Path, fps: float) -> Iterator[str]:
    """Writes about ``fps`` pictures a second, named by their milliseconds."""
    sampler = Sampler(fps)
    for picture in video_frames(video):
        if sampler.keeps(picture.time_s) and (image := picture.decode()) is not None:
            name = f"{round(1000 * picture.time_s):08d}.jpg"
            (out / name).write_bytes(encode_jpeg(image, 95))
            yield name


def _photo_pictures(photos: Sequence[Path], out: Path) -> Iterator[str]:
    """Writes upright copies without EXIF, all of the first one's size."""
    size = None
    for number, photo in enumerate(photos):
        image = decode_image(photo.read_bytes())
        if image is None:
            raise CaptureError(photo, "not a readable picture")
        if size is None:
            size = image.shape
        elif image.shape != size:
            bound = f"{size[1]} x {size[0]}, like the first: one camera, held one way"
            raise CaptureError(photo, f"the upright picture is {image.shape[1]} x {image.shape[0]}, must be {bound}")
        name = f"{number:05d}.jpg"
        (out / name).write_bytes(encode_jpeg(image, 95))
        yield name


def _exif_focal(photo: Path) -> float | None:
    """In pixels, from the focal length that a 35 mm film would have needed."""
    try:
        with Image.open(photo) as picture:
            value = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
            return float(value) * max(picture.size) / 36 if value else None
    except (UnidentifiedImageError, OSError, ValueError, TypeError):
        return None


def _first_camera(picture: Path, focal: float | None) -> str:
    """COLMAP's parameters of SIMPLE_RADIAL; empty: it starts from a guess."""
    if focal is None:
        return ""
    image = cv2.imread(str(picture))
    if image is None:
        raise CaptureError(picture, "not a readable picture")
    return f"{focal},{image.shape[1] / 2},{image.shape[0] / 2},0"


def _solve(pycolmap: ModuleType, source: Path, work: Path, names: list[str], camera: str, threads: int) -> Any:
    """The largest ``pycolmap.Reconstruction`` of the pictures."""
    pycolmap.set_random_seed(0)
    database = work / "database.db"
    _extract(pycolmap, database, work / "pictures", names, camera, threads)
    _check_texture(pycolmap, source, database)
    _match(pycolmap, database, work, names, threads)
    options = pycolmap.IncrementalPipelineOptions(num_threads=threads)
    out = work / "model"
    out.mkdir()
    with tqdm(total=len(names), initial=2, desc="place cameras", unit="picture") as bar:  # the first two come as one
        models = pycolmap.incremental_mapping(
            database, work / "pictures", out, options, next_image_callback=lambda: bar.update()
        )
    if not models:
        raise CaptureError(
            source,
            f"none of {len(names)} pictures fit together: too little overlap, or the camera turned without moving (no "
            "parallax). Walk around the object, slowly",
        )
    return max(models.values(), key=lambda model: model.num_reg_images())


def _extract(pycolmap: ModuleType, database: Path, folder: Path, names: list[str], camera: str, threads: int) -> None:
    options = pycolmap.FeatureExtractionOptions(num_threads=threads, use_gpu=False, max_image_size=_SIDE)
    options.sift.max_num_features = 4096
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL", camera_params=camera)
    for name in tqdm(names, "look at pictures", unit="picture"):
        pycolmap.extract_features(
            database, folder, [name], pycolmap.CameraMode.SINGLE, reader_options=reader, extraction_options=options
        )
        reader.existing_camera_id = 1


def _check_texture(pycolmap: ModuleType, source: Path, database: Path) -> None:
    with pycolmap.Database.open(database) as opened:
        counts = [opened.num_keypoints_for_image(image.image_id) for image in opened.read_all_images()]
    median = int(np.median(counts))
    if median < _LEAST_FEATURES:
        raise CaptureError(
            source,
            f"too little texture: {median} features in the median picture, {_LEAST_FEATURES} are needed. Put the "
            "object on a newspaper or a patterned cloth, and film in better light",
        )


def picture_pairs(count: int) -> list[tuple[int, int]]:
    """Which pictures to compare: all, or, of many, each with those that follow and some that follow much later."""
    if count <= _FEW:
        return list(itertools.combinations(range(count), 2))
    steps = [*range(1, _NEIGHBOURS + 1), *(2**k for k in range(4, 12))]
    return [(i, i + step) for i in range(count) for step in steps if i + step < count]


def _match(pycolmap: ModuleType, database: Path, work: Path, names: list[str], threads: int) -> None:
    options = pycolmap.FeatureMatchingOptions(num_threads=threads, use_gpu=False)
    pairs = picture_pairs(len(names))
    file = work / "pairs.txt"
    with tqdm(total=len(pairs), desc="compare pictures", unit="pair") as bar:
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            file.write_text("".join(f"{names[a]} {names[b]}\n" for a, b in chunk))
            pairing = pycolmap.ImportedPairingOptions(match_list_path=file)
            pycolmap.match_image_pairs(database, matching_options=options, pairing_options=pairing)
            bar.update(len(chunk))


def _checked(source: Path, recording: Recording, pictures: int) -> Recording:
    """The recording, with a word on how many pictures fit; CaptureError when they are too few or show no depth."""
    count = len(recording.frames)
    if count < max(_LEAST, _LEAST_SHARE * pictures):
        raise CaptureError(
            source,
            f"only {count} of {pictures} pictures fit together: film slower, with more overlap, and without cuts",
        )
    parallax = _parallax(recording)
    if parallax < _LEAST_PARALLAX_DEG:
        raise CaptureError(
            source,
            f"no parallax: the cameras saw the scene from directions only {parallax:.1f} degrees apart, "
            f"{_LEAST_PARALLAX_DEG:g} are needed. Walk around the object",
        )
    notes = (f"{count} of {pictures} pictures fit together, {len(recording.points)} points",)
    return replace(recording, notes=notes)


def _parallax(recording: Recording) -> float:
    """The widest angle, in degrees, between two cameras as the median point sees them."""
    rays = recording.positions - np.median(recording.points, axis=0)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return float(np.degrees(np.arccos(np.clip((rays @ rays.T).min(), -1, 1))))


def _told(model: Any, given: float | None, start: float | None) -> str:
    (camera,) = model.cameras.values()
    how = "self-calibrated" if start is None else f"from {start:.0f}, as {'you' if given else 'EXIF'} said"
    return f"focal length {camera.mean_focal_length():.0f} px ({how})"
