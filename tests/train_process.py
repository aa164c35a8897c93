"""A process of a training that torchrun started: ``-m tests.train_process <frames> <training> <config as JSON>``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainer.config import TrainConfig
from trainer.train import train

if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig(**json.loads(sys.argv[3])))
