"""Whether a picture looks like a photograph, or like something drawn or painted: facts for a policy.

A logistic model weighs what differs between the two: plain runs of equal pixels, how many colours there are,
how edges and fine grain are distributed, how much of it is blank. It is fitted by
`python -m clearmark.guardrails.output.look_fitting`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails.models import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LOOKS", "Look", "look_of", "traits"]

LOOKS = (
    "equal neighbours", "nearly equal", "colours", "used levels", "edge mean", "edge spread", "edge tail",
    "grain", "grain in the dark", "grain unevenness", "saturation", "saturation spread", "white", "black",
    "coarse contrast", "grain across scales",
)  # fmt: skip
"""What `traits` returns, in order."""

_SIDE = 256


@dataclass(frozen=True, slots=True)
class Look:
    """How likely a picture is a photograph, or meant to pass for one."""

    photograph: float

    @property
    def photorealistic(self) -> bool:
        """Whether a policy should take it for one."""
        return self.photograph >= 0.5

    def to_facts(self) -> dict[str, bool | float]:
        """Return the facts as a finding carries them."""
        return {"photorealistic": self.photorealistic, "photograph_score": round(self.photograph, 4)}


def look_of(rgb: NDArray[np.uint8]) -> Look:
    """Measure a picture [height, width, 3].

    Raises:
        GuardUnavailable: when the weights are missing or altered.
    """
    import numpy as np

    mean, scale, weights = _weights()
    row = np.clip((traits(rgb) - mean) / scale, -5, 5)
    odds = float(np.concatenate([row, row**2, [1.0]]) @ weights)
    return Look(float(1 / (1 + np.exp(-np.clip(odds, -30, 30)))))


def traits(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what `LOOKS` names, of the middle of a picture at no more than 256 pixels' worth of detail."""
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    scale = _SIDE / min(height, width)
    if scale < 1:
        size = (max(_SIDE, round(width * scale)), max(_SIDE, round(height * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    top, left = max(0, (rgb.shape[0] - _SIDE) // 2), max(0, (rgb.shape[1] - _SIDE) // 2)
    rgb = np.ascontiguousarray(rgb[top : top + _SIDE, left : left + _SIDE])
    if min(rgb.shape[:2]) < 8:
        rgb = cv2.resize(rgb, (32, 32))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    step = np.abs(rgb[:, 1:].astype(np.int16) - rgb[:, :-1]).max(axis=2)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edge = np.log1p(np.sqrt(across**2 + down**2))
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 2.5)
    grain = cv2.GaussianBlur(np.abs(fine), (0, 0), 4.0)
    coded = (
        (rgb[:, :, 0].astype(np.int32) >> 4 << 8)
        | (rgb[:, :, 1].astype(np.int32) >> 4 << 4)
        | rgb[:, :, 2] >> 4
    )
    used = np.bincount(coded.reshape(-1), minlength=4096)
    levels = np.bincount(grey.astype(np.uint8).reshape(-1), minlength=256)
    centred = edge - edge.mean()
    return np.array(
        [
            (step == 0).mean(), (step <= 2).mean(), np.log1p((used > 0).sum()), (levels > 2).mean(),
            edge.mean(), edge.std(), (centred**3).mean() / max(1e-3, edge.std()) ** 3,
            np.log1p(np.median(np.abs(fine))), np.log1p(np.percentile(grain, 10)),
            np.log1p(np.percentile(grain, 90)) - np.log1p(np.percentile(grain, 30)),
            hsv[:, :, 1].mean() / 255, hsv[:, :, 1].std() / 255, (grey > 250).mean(), (grey < 5).mean(),
            np.log1p(grey.std()), np.log1p(np.abs(fine).mean()) - np.log1p(np.abs(coarse).mean()),
        ],
        dtype=np.float32,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    import numpy as np

    try:
        (path,) = entry("picture-look").verify().values()
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            mean, scale, weights = (arrays[name].astype(np.float32) for name in ("mean", "scale", "weights"))
    except Error as exc:
        raise GuardUnavailable(f"look: {exc.message}", hint=exc.hint) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise GuardUnavailable("look: the weights cannot be read", hint="reinstall clearmark") from exc
    if mean.shape != (len(LOOKS),) or weights.shape != (2 * len(LOOKS) + 1,):
        raise GuardUnavailable("look: the weights do not fit", hint="reinstall clearmark")
    return mean, scale, weights
