"""The losses against slow references, and the published architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from torch import nn

from index.backbone import build_backbone
from index.schema import InvalidValueError
from trainer.ntxent import NTXent, ntxent_loss
from trainer.simsiam import SimSiam, simsiam_loss
from trainer.tcn import TCN, tcn_loss


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


class TinyBackbone(nn.Module):
    num_features = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 6)

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_simsiam_loss_is_equation_1():
    p1, p2, z1, z2 = (rows(4, 5, seed) for seed in range(4))

    def negative_cosine(a, b):
        return -np.mean(
            [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        )

    expected = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
    assert simsiam_loss(p1, p2, z1, z2).item() == pytest.approx(expected, abs=1e-6)


def test_simsiam_stops_the_gradient_of_the_projections():
    p1, p2, z1, z2 = (rows(4, 5, seed).requires_grad_() for seed in range(4))
    simsiam_loss(p1, p2, z1, z2).backward()
    assert p1.grad is not None
    assert p2.grad is not None
    assert z1.grad is None
    assert z2.grad is None


def test_simsiam_is_the_published_network():
    method = SimSiam(TinyBackbone(), width=16, bottleneck=4)
    kinds = [type(layer) for layer in method.projector]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert [layer.bias for layer in method.projector if isinstance(layer, nn.Linear)] == [None] * 3
    assert method.projector[-1].affine is False
    assert [type(layer) for layer in method.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in method.predictor.parameters()] == [(4, 16), (4,), (4,), (16, 4), (16,)]
    assert list(method.fixed_rate_parameters()) == list(method.predictor.parameters())


def test_heads_compute_in_float32_under_autocast():
    method = SimSiam(TinyBackbone(), width=16, bottleneck=4)
    x1, x2 = rows(8, 12).reshape(8, 3, 2, 2), rows(8, 12, 1).reshape(8, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        loss, z = method(x1, x2)
    assert loss.dtype == z.dtype == torch.float32


def slow_ntxent(z1, z2, temperature):
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, losses = len(z1), []
    for i in range(2 * n):
        similar = {j: np.exp(z[i] @ z[j] / temperature) for j in range(2 * n) if j != i}
        losses.append(-np.log(similar[(i + n) % (2 * n)] / sum(similar.values())))
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_ntxent_is_the_definition(temperature):
    z1, z2 = rows(6, 5), rows(6, 5, 1)
    ours = ntxent_loss(z1, z2, temperature).item()
    assert ours == pytest.approx(slow_ntxent(z1.numpy(), z2.numpy(), temperature), rel=1e-5)


def test_ntxent_without_negatives_is_zero():
    """With one pair a view has its partner alone to choose: a self term left in the sum would show here."""
    assert ntxent_loss(rows(1, 5), rows(1, 5, 1), 0.1).item() == pytest.approx(0, abs=1e-6)


def test_ntxent_module_learns_to_tell_pairs_apart():
    torch.manual_seed(0)
    method = NTXent(TinyBackbone(), width=8, temperature=0.2)
    x1 = rows(16, 12).reshape(16, 3, 2, 2)
    x2 = x1 + 0.05 * rows(16, 12, 1).reshape(16, 3, 2, 2)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    losses = []
    for _ in range(30):
        loss, _ = method(x1, x2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def _loss_of_a_share(rank, folder):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{folder}/store")
    z1, z2 = (rows(6, 5, seed)[3 * rank : 3 * rank + 3].requires_grad_() for seed in (0, 1))
    loss = ntxent_loss(z1, z2, 0.3)
    loss.backward()
    np.savez(folder / f"{rank}.npz", loss=loss.item(), z1=z1.grad, z2=z2.grad)
    torch.distributed.destroy_process_group()


def test_ntxent_over_two_processes_is_that_of_the_whole_batch(tmp_path):
    z1, z2 = rows(6, 5).requires_grad_(), rows(6, 5, 1).requires_grad_()
    whole = ntxent_loss(z1, z2, 0.3)
    whole.backward()
    torch.multiprocessing.spawn(_loss_of_a_share, (tmp_path,), nprocs=2)
    shares = [np.load(tmp_path / f"{rank}.npz") for rank in (0, 1)]
    assert np.mean([share["loss"] for share in shares]) == pytest.approx(whole.item(), rel=1e-5)
    # The mean over processes, as DDP takes it, halves each share's gradient.
    np.testing.assert_allclose(np.concatenate([share["z1"] for share in shares]) / 2, z1.grad, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([share["z2"] for share in shares]) / 2, z2.grad, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_losses_are_those_of_lightly(temperature):
    p1, p2, z1, z2 = (rows(6, 5, seed) for seed in range(4))
    theirs = NTXentLoss(temperature)(z1, z2)
    torch.testing.assert_close(ntxent_loss(z1, z2, temperature), theirs)
    cosine = NegativeCosineSimilarity()
    torch.testing.assert_close(simsiam_loss(p1, p2, z1, z2), (cosine(p1, z2) + cosine(p2, z1)) / 2)


def test_the_published_ntxent_leaves_some_of_the_self_term():
    """Why figures of its kind differ: it subtracts e^1 where the self term is e^(1/temperature)."""
    z = np.concatenate([rows(6, 5).numpy(), rows(6, 5, 1).numpy()]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similar = np.exp(z @ z.T / 0.5)
    published = -np.log(similar[np.arange(12), np.roll(np.arange(12), 6)] / (similar.sum(axis=1) - np.e)).mean()
    assert published > slow_ntxent(rows(6, 5).numpy(), rows(6, 5, 1).numpy(), 0.5) + 0.1


def test_tcn_loss_is_its_definition():
    anchor, positive, negative = (rows(40, 5, seed) for seed in range(3))
    losses = []
    for a, p, n in zip(anchor.numpy(), positive.numpy(), negative.numpy(), strict=True):
        losses.append(max(0.0, np.sqrt(((a - p) ** 2).sum()) - np.sqrt(((a - n) ** 2).sum()) + 0.2))
    assert 0 < np.count_nonzero(losses) < 40
    assert tcn_loss(anchor, positive, negative, 0.2).item() == pytest.approx(np.mean(losses), abs=1e-5)


def test_tcn_projections_are_not_normalised():
    method = TCN(TinyBackbone(), width=8)
    views = [rows(16, 12, seed).reshape(16, 3, 2, 2) for seed in range(3)]
    loss, z = method(*views, track=torch.arange(16), time_s=torch.zeros(16, 3))
    assert z.norm(dim=1).std() > 0.01
    loss.backward()
    assert method.backbone.layer.weight.grad is not None
    assert list(method.fixed_rate_parameters()) == []


def test_half_width_resnet_has_256_features_and_a_quarter_of_the_weights():
    half = build_backbone("resnet18_half")
    assert half.num_features == 256
    assert half(torch.zeros(2, 3, 32, 32)).shape == (2, 256)
    whole = sum(p.numel() for p in build_backbone("resnet18").parameters())
    assert sum(p.numel() for p in half.parameters()) == pytest.approx(whole / 4, rel=0.01)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(InvalidValueError, match="architecture"):
        build_backbone("resnet19")
