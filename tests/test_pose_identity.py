"""The twofold loss against a slow definition, its two limits, and that processes see each other's views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.test_simsiam import TinyBackbone, rows
from trainer.ntxent import ntxent_loss
from trainer.pose_identity import PoseIdentity, twofold_loss
from trainer.processes import gathered, mean_over_processes


def slow_loss(pose, identity, track, time_s, temperature, weight):
    """The definition, a view at a time."""
    n = len(track)
    views = [(track[i % n], time_s[i % n][i // n]) for i in range(2 * n)]
    pose, identity = (z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True) for z in (pose, identity))

    def term(z, i, no_negative):
        partner = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j != i and (j == partner or not no_negative(views[i], views[j]))]
        return -np.log(np.exp(z[i] @ z[partner] / temperature) / sum(np.exp(z[i] @ z[j] / temperature) for j in others))

    nearby = [i for i in range(2 * n) if abs(time_s[i % n][0] - time_s[i % n][1]) <= 0.3 + 1e-6]
    of_pose = [term(pose, i, lambda a, b: a[0] == b[0] and abs(a[1] - b[1]) < 0.5) for i in nearby]
    of_identity = [term(identity, i, lambda a, b: a[0] == b[0]) for i in range(2 * n)]
    return (1 - weight) * np.mean(of_pose) + weight * np.mean(of_identity)


def batch(n, seed=0, tracks=3):
    """Pairs out of a few videos, at 5 fps: half of them nearby, so views of one video lie close and far apart."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 12, n)
    gap = np.where(np.arange(n) % 2, 1, rng.integers(2, 10, n))
    times = np.stack([first, first + gap], axis=1) / 5
    return torch.from_numpy(rng.integers(0, tracks, n)), torch.from_numpy(times.astype(np.float32))


def apart(n, seconds):
    """Times of n pairs whose views are ``seconds`` apart."""
    return torch.tensor([[0.0, seconds]]).repeat(n, 1)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_definition(seed, weight):
    pose, identity, (track, time_s) = rows(24, 5, seed), rows(24, 5, seed + 10), batch(12, seed)
    ours = twofold_loss(pose, identity, track, time_s, 0.2, weight).item()
    slow = slow_loss(pose.numpy(), identity.numpy(), track.numpy(), time_s.numpy(), 0.2, weight)
    assert ours == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize(("weight", "seconds"), [(0.0, 0.2), (1.0, 0.2), (1.0, 1.0)])
def test_of_videos_that_are_all_different_either_term_is_ntxent(weight, seconds):
    z, track = rows(12, 5), torch.arange(6)
    ours = twofold_loss(z, z, track, apart(6, seconds), 0.3, weight).item()
    assert ours == pytest.approx(ntxent_loss(z[:6], z[6:], 0.3).item(), rel=1e-5)


@pytest.mark.parametrize(("later", "repel"), [(0.2, False), (0.8, True)])
def test_in_pose_views_of_one_video_repel_when_they_are_far_apart_in_time(later, repel):
    """Two nearby pairs of one video: with nothing to repel, a view has its partner alone to choose."""
    time_s = apart(2, 0.2) + torch.tensor([[0.0], [later]])
    loss = twofold_loss(rows(4, 5), rows(4, 5, 1), torch.zeros(2), time_s, 0.3, 0.0).item()
    assert (loss > 0.01) == repel


def test_in_identity_views_of_one_video_never_repel():
    loss = twofold_loss(rows(8, 5), rows(8, 5, 1), torch.zeros(4), apart(4, 3.0), 0.1, 1.0)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("weight", "silent"), [(0.0, "identity"), (1.0, "pose")])
def test_at_its_limits_the_weight_leaves_one_projector_alone(weight, silent):
    torch.manual_seed(0)
    method = PoseIdentity(TinyBackbone(), width=8, identity=weight)
    x1, x2 = rows(12, 12).reshape(12, 3, 2, 2), rows(12, 12, 1).reshape(12, 3, 2, 2)
    method(x1, x2, *batch(12))[0].backward()
    for name in ("pose", "identity"):
        moved = max(p.grad.abs().max().item() for p in getattr(method, name).parameters())
        assert (moved == 0) == (name == silent)


def test_a_batch_without_a_nearby_pair_teaches_identity_alone():
    pose, identity = (rows(8, 5, seed).requires_grad_() for seed in (0, 1))
    loss = twofold_loss(pose, identity, torch.arange(4), apart(4, 2.0), 0.1, 0.25)
    loss.backward()
    z = identity.detach()
    assert loss.item() == pytest.approx(0.25 * ntxent_loss(z[:4], z[4:], 0.1).item(), rel=1e-5)
    assert (pose.grad == 0).all()
    assert torch.isfinite(identity.grad).all()
    assert identity.grad.abs().max() > 0


@pytest.mark.parametrize(("gap", "is_nearby"), [(0.0, True), (0.3, True), (0.35, False)])
def test_what_is_nearby_is_what_may_be_paired_as_such(gap, is_nearby):
    """Also in float32: 1.5 times 200 ms and no more (``trainer.pairs``)."""
    time_s = torch.tensor([[0.4, 0.4 + gap]]).repeat(4, 1)
    loss = twofold_loss(rows(8, 5), rows(8, 5), torch.arange(4), time_s, 0.1, 0.0)
    assert (loss.item() > 0) == is_nearby


def test_it_computes_in_float32_under_autocast_and_monitors_the_first_views_pose():
    torch.manual_seed(0)
    method = PoseIdentity(TinyBackbone(), width=8).eval()
    x1, x2 = rows(6, 12).reshape(6, 3, 2, 2), rows(6, 12, 1).reshape(6, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        loss, z = method(x1, x2, *batch(6))
        features = method.backbone(x1).float()
    assert loss.dtype == z.dtype == torch.float32
    assert not z.requires_grad
    torch.testing.assert_close(z, method.pose(features).detach())
    assert list(method.fixed_rate_parameters()) == []


def test_it_learns_both():
    torch.manual_seed(0)
    method = PoseIdentity(TinyBackbone(), width=8, temperature=0.2)
    x1 = rows(16, 12).reshape(16, 3, 2, 2)
    x2 = x1 + 0.05 * rows(16, 12, 1).reshape(16, 3, 2, 2)
    track, time_s = batch(16, tracks=6)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    losses = []
    for _ in range(30):
        loss, _ = method(x1, x2, track, time_s)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


# Six pairs of three videos; each half has one nearby pair and two distant ones, in another order.
TRACK, TIMES = torch.tensor([0, 1, 1, 0, 2, 1]), torch.tensor([[0, 0.2], [0, 1], [3, 1], [0, 2], [4, 1], [0.4, 0.6]])


def _loss_of_a_share(rank, folder):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{folder}/store")
    share = slice(3 * rank, 3 * rank + 3)
    pose, identity = (torch.cat([z[:6][share], z[6:][share]]).requires_grad_() for z in (rows(12, 5), rows(12, 5, 1)))
    loss = twofold_loss(pose, identity, TRACK[share], TIMES[share], 0.3, 0.4)
    loss.backward()
    numbers, first = gathered(torch.tensor([rank, rank + 10]))
    found = {"loss": loss.item(), "pose": pose.grad, "identity": identity.grad, "numbers": numbers, "first": first}
    np.savez(folder / f"{rank}.npz", **found)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def shares(tmp_path_factory):
    """What two processes made of half a batch each."""
    folder = tmp_path_factory.mktemp("shares")
    torch.multiprocessing.spawn(_loss_of_a_share, (folder,), nprocs=2)
    return [np.load(folder / f"{rank}.npz") for rank in (0, 1)]


def test_over_two_processes_the_loss_is_that_of_the_whole_batch(shares):
    pose, identity = rows(12, 5).requires_grad_(), rows(12, 5, 1).requires_grad_()
    whole = twofold_loss(pose, identity, TRACK, TIMES, 0.3, 0.4)
    whole.backward()
    assert np.mean([share["loss"] for share in shares]) == pytest.approx(whole.item(), rel=1e-5)
    for name, z in (("pose", pose), ("identity", identity)):
        # Each share holds the first views of its pairs, then the second. The mean over processes halves its gradient.
        gradient = np.stack([share[name].reshape(2, 3, 5) for share in shares], axis=1).reshape(12, 5) / 2
        np.testing.assert_allclose(gradient, z.grad, atol=1e-6)


def test_numbers_without_a_gradient_are_gathered_in_the_processes_order(shares):
    for rank, share in enumerate(shares):
        np.testing.assert_array_equal(share["numbers"], [0, 10, 1, 11])
        assert share["first"] == 2 * rank


def test_a_single_process_exchanges_nothing():
    z = rows(3, 2)
    assert gathered(z) == (z, 0)
    assert mean_over_processes(z) is z
