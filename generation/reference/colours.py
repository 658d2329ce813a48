"""Name the main colours of a picture, so that captions can speak of "a red apple"."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

# Upper ends of the hues, in degrees, of saturated and bright pixels.
_HUES = (
    (14, "red"),
    (40, "orange"),
    (68, "yellow"),
    (165, "green"),
    (255, "blue"),
    (292, "purple"),
    (335, "pink"),
)
_MAIN_SHARE = 0.4
_SECOND_SHARE = 0.25
_PAPER = 245


def main_colours(picture: npt.NDArray[np.uint8]) -> str:
    """Return a colour name ("red"), two ("black and yellow") or "" for a picture (H, W, 3) on white paper.

    Paper white is not counted; a colour is named when it covers 40 % of the drawing, a second one from 25 %.
    """
    small = picture[::4, ::4].reshape(-1, 3)
    drawn = small[(small < _PAPER).any(axis=1)]
    if len(drawn) == 0:
        return ""
    names, counts = np.unique(_names(drawn), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = counts[order] / len(drawn)
    if shares[0] < _MAIN_SHARE:
        return ""
    named = [str(names[order[0]])]
    if len(shares) > 1 and shares[1] >= _SECOND_SHARE:
        named.append(str(names[order[1]]))
    return " and ".join(named)


def _names(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.str_]:
    hsv = np.asarray(Image.fromarray(pixels[None]).convert("HSV"))[0].astype(np.int32)
    hue, saturation, value = hsv[:, 0] * 360 // 256, hsv[:, 1], hsv[:, 2]
    names = np.full(len(pixels), "red", dtype="<U6")
    for end, name in reversed(_HUES):
        names[hue < end] = name
    names[(names == "orange") & (value < 165)] = "brown"
    grey = saturation < 45
    names[grey] = "gray"
    names[grey & (value > 225)] = "white"
    names[value < 60] = "black"
    return names
