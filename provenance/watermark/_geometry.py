"""Where the tile lies in a picture that was cropped, scaled, turned, mirrored or stretched.

Every hypothesis asks the same question: with the carrier's frequencies scaled and turned so, does the fixed
pattern add up at some shift? One transform of the whitened picture answers all of them by look-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._carrier import TILE, Carrier
from clearmark.provenance.watermark._front import SIDES, resized

__all__ = ["Pose", "poses", "search", "straightened"]

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]

SIZE = 1024
"""Side of the transform, in pixels of half the canonical size."""

GRID = 128
"""Shifts that are looked at in a search, per side: more than twice the highest frequency."""

LARGEST = 1024
"""Side of the middle of the picture that is searched, in pixels of the canonical size."""

BATCH = 32

COARSE = 0.4
"""How much of its fit a pose may lose between the steps of the search."""


@dataclass(frozen=True)
class Pose:
    """By how much the tile is larger than it should be, across and down, turned (radians), and mirrored."""

    across: float = 1.0
    down: float = 1.0
    turn: float = 0.0
    mirrored: bool = False


def poses(step: float = 1.0) -> list[Pose]:
    """Return what is searched: crops to 38% of a side, 12 degrees of turn, stretches to 1.5, and mirrored.

    `step` is 1 where the shortest side has 512 pixels, and larger in proportion where it has fewer: over less
    of a picture the same error of scale or turn shifts less.
    """
    sizes = np.exp(np.arange(math.log(0.8), math.log(2.65), 0.005 * step)).tolist()
    turns = np.deg2rad(np.arange(-12, 12.01, 0.25 * step)).tolist()
    stretches = np.exp(np.arange(-0.4, 0.401, 0.006 * step)).tolist()
    found = [Pose(size, size) for size in sizes]
    found += [Pose(turn=turn) for turn in turns]
    found += [Pose(across=stretch) for stretch in stretches] + [Pose(down=stretch) for stretch in stretches]
    return found + [Pose(pose.across, pose.down, pose.turn, mirrored=True) for pose in found]


def near(pose: Pose, step: float = 1.0) -> list[Pose]:
    """Return poses between the search's steps around `pose`."""
    steps = (-0.0025 * step, 0.0, 0.0025 * step)
    if pose.turn:
        turns = [pose.turn + math.radians(by * step) for by in (-0.12, -0.06, 0.0, 0.06, 0.12)]
        return [Pose(pose.across, pose.down, turn, pose.mirrored) for turn in turns]
    return [
        Pose(pose.across * (1 + a), pose.down * (1 + d), 0.0, pose.mirrored) for a in steps for d in steps
    ]


class _Lookup:
    """The transform of a whitened picture, to be read at any frequency."""

    def __init__(self, whitened: Floats) -> None:
        height, width = whitened.shape
        top, left = max(0, (height - LARGEST) // 2), max(0, (width - LARGEST) // 2)
        middle = whitened[top : top + LARGEST, left : left + LARGEST]
        half = resized(np.ascontiguousarray(middle), middle.shape[1] // 2, middle.shape[0] // 2)
        rows, columns = half.shape
        # A soft edge, and the middle at the origin, so that neighbouring values have neighbouring phases.
        half = half * _ramp(rows)[:, None] * _ramp(columns)
        padded = np.zeros((SIZE, SIZE), np.float32)
        padded[:rows, :columns] = half
        padded = np.roll(padded, (-(rows // 2), -(columns // 2)), (0, 1))
        self._half = np.fft.rfft2(padded).astype(np.complex64)

    def at(self, fy: Floats, fx: Floats) -> Complex:
        """Return the values nearest to frequencies in cycles per canonical pixel."""
        negative = fx < 0
        sign = np.where(negative, -1, 1)
        row = np.rint(fy * sign * (2 * SIZE)).astype(np.intp) % SIZE
        column = np.minimum(np.rint(fx * sign * (2 * SIZE)).astype(np.intp), SIZE // 2)
        value = self._half[row, column]
        out: Complex = np.where(negative, np.conj(value), value)
        return out


def _ramp(length: int) -> Floats:
    at = np.arange(length)
    out: Floats = (np.minimum(1, np.minimum(at + 1, length - at) / 6)).astype(np.float32)
    return out


def _scores(lookup: _Lookup, carrier: Carrier, candidates: Sequence[Pose]) -> Floats:
    """Return the best fit over all shifts for each pose."""
    fy, fx = carrier.fy[carrier.sync].astype(np.float32), carrier.fx[carrier.sync].astype(np.float32)
    edge = np.flatnonzero(fx == 0)
    rows, columns = carrier.fy[carrier.sync] % GRID, carrier.fx[carrier.sync]
    out = np.empty(len(candidates), np.float32)
    for start in range(0, len(candidates), BATCH):
        batch = candidates[start : start + BATCH]
        across = np.array([[p.across * (-1 if p.mirrored else 1)] for p in batch], np.float32) * TILE
        down = np.array([[p.down] for p in batch], np.float32) * TILE
        turn = np.array([[p.turn] for p in batch], np.float32)
        cos, sin = np.cos(turn), np.sin(turn)
        y, x = fy / down, fx / across
        value = lookup.at(cos * y + sin * x, cos * x - sin * y)
        size = np.abs(value)
        value = value / (size + 0.5 * np.sqrt((size**2).mean(1, keepdims=True)) + 1e-12)
        value /= np.sqrt((np.abs(value) ** 2).mean(1, keepdims=True)) + 1e-12
        value = value * np.conj(carrier.phase)
        half = np.zeros((len(batch), GRID, GRID // 2 + 1), np.complex64)
        half[:, rows, columns] = value
        half[:, -rows[edge] % GRID, 0] = np.conj(value[:, edge])
        fit = np.fft.irfft2(half)
        out[start : start + BATCH] = fit.reshape(len(batch), -1).max(1)
    return out * np.float32(GRID * GRID / np.sqrt(2 * len(carrier.sync)))


def search(whitened: Floats, carrier: Carrier, *, tries: int, least: float) -> list[tuple[float, Pose]]:
    """Return the likeliest poses, at most `tries`, whose fit is at least `least`, with that fit."""
    lookup = _Lookup(whitened)
    step = SIDES[0] / min(whitened.shape)
    candidates = poses(step)
    scores = _scores(lookup, carrier, candidates)
    taken: list[Pose] = []
    found: list[tuple[float, Pose]] = []
    for index in np.argsort(-scores, kind="stable"):
        if len(taken) == tries or scores[index] < least - COARSE:
            break
        pose = candidates[index]
        if any(_close(pose, other, step) for other in taken):
            continue
        taken.append(pose)
        finer = near(pose, step)
        fits = _scores(lookup, carrier, finer)
        best = int(fits.argmax())
        if fits[best] >= least:
            found.append((float(fits[best]), finer[best]))
    return found


def _close(one: Pose, other: Pose, step: float) -> bool:
    """Say whether two poses are neighbours in the search, so that one try serves both."""
    return (
        one.mirrored == other.mirrored
        and abs(one.across - other.across) < 0.012 * step
        and abs(one.down - other.down) < 0.012 * step
        and abs(one.turn - other.turn) < 0.009 * step
    )


def straightened(plane: Floats, pose: Pose) -> Floats:
    """Return `plane` with `pose` undone, so that its tile has the period TILE."""
    import cv2

    height, width = plane.shape
    rows, columns = round(height / pose.down), round(width / pose.across)
    cos, sin = math.cos(pose.turn), math.sin(pose.turn)
    side = -1 if pose.mirrored else 1
    matrix = np.array(
        [
            [pose.across * cos * side, -pose.down * sin, 0],
            [pose.across * sin * side, pose.down * cos, 0],
        ],
        np.float64,
    )
    matrix[:, 2] = np.array([width, height]) / 2 - matrix[:, :2] @ np.array([columns, rows]) / 2
    out: Floats = cv2.warpAffine(
        plane,
        matrix,
        (columns, rows),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return out
