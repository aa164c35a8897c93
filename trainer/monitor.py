"""Is it learning, or has it collapsed? Two figures of the projections, and a k-NN accuracy of the embedding."""

from __future__ import annotations

import logging

import lightning
import torch
from torch import Tensor
from torch.nn.functional import normalize

from trainer.frames import Frames, evenly, letterboxed

logger = logging.getLogger(__name__)

_COLLAPSED_SPREAD = 0.1
_COLLAPSED_RANK = 2.0


def spread(z: Tensor) -> float:
    """Mean standard deviation per dimension of the normalised rows (n, d), times sqrt(d).

    1 when the directions are spread evenly over the sphere, 0 when they are all the same (SimSiam, section 4.1).
    """
    return float(normalize(z, dim=1).std(dim=0).mean() * z.shape[1] ** 0.5)


def effective_rank(z: Tensor) -> float:
    """How many dimensions the normalised rows (n, d) use: exp of the entropy of their covariance's eigenvalues.

    Source: Roy & Vetterli 2007, on the variances. At most n - 1.
    """
    centred = normalize(z, dim=1)
    centred = centred - centred.mean(dim=0)
    variances = torch.linalg.eigvalsh(centred @ centred.T).clamp(min=0)  # those of the (d, d) covariance, times n
    if variances.sum() == 0:
        return 0.0
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())


class CollapseMonitor(lightning.Callback):  # type: ignore[misc]
    """Logs spread and effective rank of each epoch's last batch of projections; warns once when they say collapse."""

    def __init__(self) -> None:
        self._warned = False

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        z: Tensor = module.projections
        figures = {"spread": spread(z), "rank": effective_rank(z)}
        module.log_dict(figures, prog_bar=True, rank_zero_only=True)
        if not self._warned and (figures["spread"] < _COLLAPSED_SPREAD or figures["rank"] < _COLLAPSED_RANK):
            self._warned = True
            logger.warning(
                "the projections have collapsed: spread %(spread).3f (1 is even), effective rank %(rank).1f", figures
            )


class NeighbourMonitor(lightning.Callback):  # type: ignore[misc]
    """Logs ``category_accuracy``: how many validation frames have a training frame of their category nearest.

    Measured on a sample of both splits, every ``every`` epochs and at the last. The labels are not trained on.
    """

    def __init__(self, references: Frames, queries: Frames, size: int, every: int, sample: int = 512) -> None:
        self._references, self._queries = evenly(references, sample), evenly(queries, sample)
        self._size, self._every = size, every
        self._crops: list[Tensor] | None = None

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero and (last or (trainer.current_epoch + 1) % self._every == 0):
            module.log("category_accuracy", self._accuracy(module), prog_bar=True, rank_zero_only=True)

    def _accuracy(self, module: lightning.LightningModule) -> float:
        if self._crops is None:
            self._crops = [
                torch.from_numpy(letterboxed(frames, self._size)) for frames in (self._references, self._queries)
            ]
        references, queries = (module.embed(crops) for crops in self._crops)
        nearest = (queries @ references.T).argmax(dim=1).cpu().numpy()
        return float((self._references.category[nearest] == self._queries.category).mean())
