"""Figures of an evaluation: of boxes, of rankings, with confidence intervals over sequences."""

from trainer.metrics.estimate import Estimate, Sampled, Split, Spread, category_mean
from trainer.metrics.objectron import Curve, Detection, Errors, Things, detection, errors_between
from trainer.metrics.retrieval import Gallery, Rankings, average_precisions, rankings
from trainer.metrics.symmetry import turned_to_best

__all__ = [
    "Curve",
    "Detection",
    "Errors",
    "Estimate",
    "Gallery",
    "Rankings",
    "Sampled",
    "Split",
    "Spread",
    "Things",
    "average_precisions",
    "category_mean",
    "detection",
    "errors_between",
    "rankings",
    "turned_to_best",
]
