"""Evaluation: figures of an index on the test split, as JSON, as records of every query, and as text."""

from trainer.evaluate.config import EvaluateConfig
from trainer.evaluate.schema import Evaluation, records_of
from trainer.evaluate.stage import evaluate, evaluate_bounds, evaluate_encoder
from trainer.evaluate.table import table

__all__ = ["EvaluateConfig", "Evaluation", "evaluate", "evaluate_bounds", "evaluate_encoder", "records_of", "table"]
