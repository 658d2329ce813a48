"""Synthetic items for benches that need an index and no pictures: the same for the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clearmark.benchmarks.index import vectors

if TYPE_CHECKING:
    from clearmark.guardrails.memorization import Entry, Item
    from clearmark.guardrails.memorization._keypoints import Features

__all__ = ["DESCRIPTOR", "entries", "features", "item"]

DESCRIPTOR = "synthetic@sha256:00"
"""The `ref` of a descriptor that does not exist."""


def item(number: int) -> Item:
    """Return the item of one number."""
    from clearmark.guardrails.memorization import Item

    return Item(key=f"k{number}", sha256=f"{number:064x}", licence="CC0-1.0")


def entries(first: int, count: int, *, points: int = 0) -> list[Entry]:
    """Return `count` entries from number `first` on, each with a hash, a sign code and `points` key points.

    What an entry holds follows from `first` as well: the same numbers have to be asked for in the same steps.
    """
    from clearmark.guardrails.memorization import Entry
    from clearmark.guardrails.memorization._keypoints import pack
    from clearmark.guardrails.memorization.descriptor import sign_codes

    hashes = np.random.default_rng((first, 1)).bytes(32 * count)
    codes = sign_codes(vectors(first, count))
    return [
        Entry(
            item(first + n),
            hashes[32 * n : 32 * n + 32],
            codes[n : n + 1],
            features=pack(features(first + n, points)) if points else b"",
        )
        for n in range(count)
    ]


def features(number: int, points: int) -> Features:
    """Return the key points of one number."""
    from clearmark.guardrails.memorization._keypoints import Features

    draw = np.random.default_rng((number, 7))
    places = draw.uniform(1, 300, (points, 4)).astype(np.float32)
    places[:, 3] = draw.uniform(2, 20, points)
    # Root SIFT is sparse: few directions of a patch carry most of it.
    rough = np.sqrt(draw.gamma(0.25, size=(points, 128)))
    rough /= np.linalg.norm(rough, axis=1, keepdims=True)
    descriptors = (512 * rough + 0.5).clip(0, 255).astype(np.uint8)
    return Features(places, descriptors, (320, 320), np.zeros((8, 8, 3), np.uint8), 1.0)
