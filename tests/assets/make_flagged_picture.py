"""Make a harmless picture that OpenNSFW takes for nudity, for tests of what happens to flagged outputs.

Seven soft ellipses in the colours of skin, found by a random search: nothing is shown, and no
test needs a real picture of that kind. Run: `python make_flagged_picture.py OUT.png`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256
GROUND = (193, 120, 60)
# Centre x and y, radii along and across (as shares of the side), angle, and softness of the edge.
ELLIPSES = (
    (0.374, 0.542, 0.225, 0.346, 0.703, 11.5, (185, 136, 111)),
    (0.612, 0.792, 0.436, 0.444, 0.616, 19.7, (169, 124, 101)),
    (0.311, 0.173, 0.082, 0.337, 1.974, 16.6, (212, 156, 127)),
    (0.512, 0.230, 0.381, 0.052, 2.073, 6.6, (221, 162, 132)),
    (0.744, 0.842, 0.374, 0.153, 1.474, 9.5, (181, 133, 110)),
    (0.342, 0.146, 0.488, 0.156, 1.216, 7.9, (178, 131, 107)),
    (0.538, 0.713, 0.055, 0.142, 1.880, 13.2, (220, 161, 132)),
)


def flagged_picture() -> Image.Image:
    """Return the picture, 256 x 256, RGB."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    picture = np.zeros((SIDE, SIDE, 3), np.float32) + np.asarray(GROUND, np.float32)
    for centre_x, centre_y, along, across, angle, softness, colour in ELLIPSES:
        u = ((x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)) / along
        v = ((y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)) / across
        distance = u * u + v * v
        alpha = 1 / (1 + np.exp(np.clip((distance - 1) * softness, -50, 50)))
        shade = 1 - 0.35 * np.clip(distance, 0, 1)
        picture = picture * (1 - alpha[..., None]) + (alpha * shade)[..., None] * np.asarray(colour)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    flagged_picture().save(Path(sys.argv[1]))
