"""``python -m trainer.demo <out.jpg>``: a contact sheet of the demo's objects."""

from __future__ import annotations

import argparse

import cv2

from trainer.demo.contact_sheet import contact_sheet, write_picture
from trainer.demo.film import DemoConfig


def main() -> None:
    """Draw nine categories, five objects of each, three views of each."""
    parser = argparse.ArgumentParser(prog="python -m trainer.demo", description=main.__doc__)
    parser.add_argument("picture", help="file to write, .jpg or .png")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    config = DemoConfig(seed=options.seed, train_objects=5, test_objects=0, width=180, height=240)
    write_picture(options.picture, contact_sheet(config))


if __name__ == "__main__":
    main()
