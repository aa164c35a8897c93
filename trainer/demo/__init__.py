"""Captures for who has none: procedural objects of Objectron's nine categories, filmed by a hand-held camera.

``film`` writes them exactly as Objectron is published, so that the demo walks the road that Objectron walks. Pictures
are drawn with NumPy and OpenCV alone: no display, no graphics driver.

::

    textures ─► meshes ─► objects ─► scene ─► bake ─► backdrop, shading ─► render ─► film
                                             orbit, annotation ──────────────────────┘
"""

from trainer.demo.film import DemoConfig, film

__all__ = ["DemoConfig", "film"]
