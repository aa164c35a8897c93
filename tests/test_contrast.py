"""Linear maps learnt by contrast: the loss by its definition, and that a head learns what changes within a video."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from trainer.contrast import but_itself, contrastive_loss
from trainer.frames import Frames
from trainer.pose_map import pose_map

TEMPERATURE = 0.2


def unit_rows(n=7, d=3):
    return torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(n, d))), dim=1)


def test_the_loss_is_its_definition():
    rows, rng = unit_rows(), np.random.default_rng(1)
    others = but_itself(torch.from_numpy(rng.random((7, 7)) < 0.7))
    alike = others & torch.from_numpy(rng.random((7, 7)) < 0.4)
    alike[2] = False  # it attracts none: nothing is asked of it
    terms = []
    for i in range(7):
        total = sum(np.exp(float(rows[i] @ rows[j]) / TEMPERATURE) for j in range(7) if others[i, j])
        logs = [float(rows[i] @ rows[j]) / TEMPERATURE - np.log(total) for j in range(7) if alike[i, j]]
        terms += [-np.mean(logs)] if logs else []
    assert 0 < len(terms) < 7
    assert float(contrastive_loss(rows, alike, others, TEMPERATURE)) == pytest.approx(np.mean(terms))


def test_a_row_without_others_breaks_no_gradient():
    rows = unit_rows().requires_grad_()
    none = torch.zeros(7, 7, dtype=torch.bool)
    contrastive_loss(rows, none, none, TEMPERATURE).backward()
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def frames_of(tracks, length, folder):
    """Frames of so many tracks, five a second, in no order."""
    rng = np.random.default_rng(3)
    order = rng.permutation(tracks * length)
    rows = [
        {"sequence": f"video-{k // length}", "object_id": f"thing-{k // length}", "time_s": k % length / 5}
        for k in order
    ]
    return Frames(folder, pa.Table.from_pylist(rows)), order // length, order % length / 5


def test_what_changes_with_time_is_kept_and_what_a_video_is_of_is_not(tmp_path, monkeypatch):
    """Wide components tell the video, narrow ones the time, some are noise: two of all of them may be kept."""
    monkeypatch.setattr("trainer.pose_map._LR", 0.05)  # few steps must do, and lead far
    monkeypatch.setattr("trainer.pose_map._TRACKS", 8)
    frames, track, time_s = frames_of(40, 12, tmp_path)
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(40, 4))[track]
    pose = np.stack([np.sin(time_s * 2), np.cos(time_s * 2)], axis=1)
    components = np.concatenate([identity, pose, 0.2 * rng.normal(size=(len(track), 4))], axis=1).astype(np.float32)
    found = pose_map(components, frames, 2, 150)
    before, after = (components @ turn.T for turn in (np.eye(2, 10, dtype=np.float32), found))
    assert found.shape == (2, 10)
    assert told_by(before, time_s) < 0.3  # chance: three of twelve times
    assert told_by(after, time_s) > 0.75
    assert np.array_equal(pose_map(components, frames, 2, 150), found)


def told_by(vectors, time_s):
    """The share of frames whose nearest other one is of nearly the same time."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities = unit @ unit.T
    np.fill_diagonal(similarities, -2)
    return (np.abs(time_s[similarities.argmax(axis=1)] - time_s) < 0.31).mean()
