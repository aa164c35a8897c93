"""``python -m trainer <command>``: see ``trainer.cli``."""

from __future__ import annotations

import sys

from trainer.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
