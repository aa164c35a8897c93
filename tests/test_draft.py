"""The box that the index proposes, in rendered scenes whose box is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from index.draft import FrameRect, GroundPlane, PosedPicture, propose_box
from index.iou import iou_3d
from index.predict import Predictor
from index.schema import Box, Frame, ImageError, InvalidValueError, OutOfViewError, Plane, View
from index.search import FrameIndex
from tests.captures import CAMERA, draw, world_from_camera
from trainer.baselines import RawPixels

SIZES = {"carton": (0.10, 0.14, 0.08), "plank": (0.16, 0.03, 0.1), "tower": (0.05, 0.2, 0.06)}
GROUND = GroundPlane(np.array([0, 1.0, 0]), np.zeros(3))


def colours(category):
    return np.random.default_rng(sum(category.encode())).integers(40, 255, (6, 3))


def poses(count, start=0.0, target=(0, 0.07, 0)):
    return [world_from_camera(start + 2 * np.pi * k / count, 0.5, 0.5, np.array(target)) for k in range(count)]


def seen(category, pose, size):
    camera_from_world = np.linalg.inv(pose)
    turn, shift = camera_from_world[:3, :3], camera_from_world[:3, 3]
    box = Box(turn, turn @ [0, size[1] / 2, 0] + shift, np.array(size))
    view = View(CAMERA, Plane.from_point(turn[:, 1], shift), box.rect(CAMERA))
    return Frame(f"{category}/{id(pose)}", category, f"{category}-1", view, box)


@pytest.fixture(scope="module")
def predictor():
    encoder = RawPixels()
    frames, crops = [], []
    for category, size in SIZES.items():
        for pose in poses(36):
            frame = seen(category, pose, size)
            frames.append(dataclasses.replace(frame, id=f"{category}/{len(frames)}"))
            image = draw(pose, np.array(size), colours(category), floor=120)
            crops.append(encoder.crop(image, frame.view.rect))
    return Predictor(encoder, FrameIndex.from_frames(encoder.embed(np.stack(crops)), frames))


def filmed(category, count=9, size=None):
    size = np.array(SIZES[category] if size is None else size)
    return [
        PosedPicture(CAMERA, pose, lambda pose=pose: draw(pose, size, colours(category), floor=120))
        for pose in poses(count, start=0.1)
    ]


def truth(category):
    size = np.array(SIZES[category])
    return Box(np.eye(3), np.array([0, size[1] / 2, 0]), size)


def overlap(draft, category):
    return iou_3d(draft.box.corners[None], truth(category).corners[None])[0]


def rect_of(category, picture):
    return seen(category, picture.world_from_camera, SIZES[category]).view.rect


@pytest.mark.parametrize("category", SIZES)
def test_a_known_kind_is_found_from_one_rectangle(predictor, category):
    pictures = filmed(category)
    draft = propose_box(predictor, pictures, GROUND, FrameRect(4, rect_of(category, pictures[4])))
    assert draft.category == category
    assert draft.frames[0] == 4
    assert len(set(draft.frames)) == len(draft.frames) > 2
    assert overlap(draft, category) > 0.6
    assert 0 < draft.confidence < 1
    assert {neighbour.frame.category for neighbour in draft.neighbours} == {category}


@pytest.mark.parametrize("hint", [None, np.array([0.01, 0, -0.01])], ids=["aim", "click"])
def test_a_known_kind_is_found_where_the_cameras_look(predictor, hint):
    draft = propose_box(predictor, filmed("carton"), GROUND, hint)
    assert draft.category == "carton"
    assert overlap(draft, "carton") > 0.5


def test_the_world_may_be_any(predictor):
    """The draft moves with the world, and the pictures may be scaled."""
    turn = np.array([[0.0, 0, 1, 3], [1, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1]])
    pictures = filmed("carton")
    moved = [dataclasses.replace(p, world_from_camera=turn @ p.world_from_camera) for p in pictures]
    ground = GroundPlane(turn[:3, 1] * 7, turn[:3, 3])
    there = FrameRect(0, rect_of("carton", pictures[0]))
    here, elsewhere = propose_box(predictor, pictures, GROUND, there), propose_box(predictor, moved, ground, there)
    back = (elsewhere.box.center - turn[:3, 3]) @ turn[:3, :3]
    assert np.allclose(back, here.box.center, atol=2e-2)
    assert elsewhere.category == here.category


def test_few_pictures_are_read(predictor):
    read = []
    pictures = [
        dataclasses.replace(picture, read=lambda p=picture, k=k: (read.append(k), p.read())[1])
        for k, picture in enumerate(filmed("carton", 40))
    ]
    draft = propose_box(predictor, pictures, GROUND)
    assert len(read) < 12
    assert set(draft.frames) <= set(read)


def damaged(picture):
    def read():
        raise ImageError("the file is truncated")

    return dataclasses.replace(picture, read=read)


def test_pictures_that_cannot_be_read_are_left_out_and_told(predictor):
    whole = filmed("carton", 12)
    before = propose_box(predictor, whole, GROUND)
    torn = before.frames[0], before.frames[2]
    pictures = [damaged(picture) if k in torn else picture for k, picture in enumerate(whole)]
    draft = propose_box(predictor, pictures, GROUND)
    assert torn[0] in draft.unread
    assert set(draft.unread) <= set(torn)  # without the first, others than before are looked at
    assert len(draft.frames) == len(before.frames)  # others took their place
    assert not set(torn) & set(draft.frames)
    assert before.unread == ()
    assert draft.category == "carton"
    assert overlap(draft, "carton") > 0.5


def test_one_picture_that_can_be_read_is_enough_and_none_is_told(predictor):
    pictures = filmed("carton", 4)
    one = propose_box(predictor, [pictures[0], *map(damaged, pictures[1:])], GROUND)
    assert (one.frames, sorted(one.unread)) == ((0,), [1, 2, 3])
    with pytest.raises(ImageError, match=r"none of the 4 pictures .* can be read \(the file is truncated\)"):
        propose_box(predictor, list(map(damaged, pictures)), GROUND)
    drawn = FrameRect(1, rect_of("carton", pictures[1]))
    with pytest.raises(ImageError, match=r"^the file is truncated"):
        propose_box(predictor, [pictures[0], damaged(pictures[1]), *pictures[2:]], GROUND, drawn)


def test_bad_input_is_refused(predictor):
    pictures = filmed("carton", 3)
    with pytest.raises(InvalidValueError, match="pictures: got 0"):
        propose_box(predictor, [], GROUND)
    with pytest.raises(InvalidValueError, match=r"frame: got 3"):
        propose_box(predictor, pictures, GROUND, FrameRect(3, (0, 0, 20, 20)))
    with pytest.raises(InvalidValueError, match="rect"):
        propose_box(predictor, pictures, GROUND, FrameRect(0, (20, 0, 0, 20)))
    sunk = np.zeros((4, 4))
    sunk[1, 3] = -3
    below = [dataclasses.replace(picture, world_from_camera=picture.world_from_camera + sunk) for picture in pictures]
    with pytest.raises(InvalidValueError, match="from above the ground"):
        propose_box(predictor, below, GROUND)
    with pytest.raises(InvalidValueError, match=r"plane.normal"):
        GroundPlane(np.zeros(3), np.zeros(3))


def test_a_place_that_no_picture_shows_is_refused(predictor):
    with pytest.raises(OutOfViewError, match="no picture shows"):
        propose_box(predictor, filmed("carton"), GROUND, np.array([90.0, 0, 0]))
