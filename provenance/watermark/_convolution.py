"""A tail-biting convolutional code of rate 1/6 and constraint length 15, decoded softly with a list.

The generators are JPL's (15, 1/6) code of the Cassini mission (octal 46321 51271 63667 70535 73277 76513).
Tail-biting spends no bits on returning to state zero: the encoder starts in the state in which it ends.
Decoding is after the wrap-around Viterbi algorithm (Shao, Lin & Fossorier 2003): two turns around the circle,
then the best ends whose path closes on itself.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._payload import BITS, Bits

__all__ = ["CODE_BITS", "LIST", "decode", "encode"]

_TAPS = (0o46321, 0o51271, 0o63667, 0o70535, 0o73277, 0o76513)
_MEMORY = 14
_STATES = 1 << _MEMORY
_HALF = _STATES // 2
_ENDS = 64

CODE_BITS = BITS * len(_TAPS)
"""Bits that a framed message becomes."""

LIST = 8
"""Most messages that `decode` returns; each is one more that a check word might let in by chance."""

Floats = npt.NDArray[np.float32]


def _parity(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    for shift in (8, 4, 2, 1):
        words = words ^ (words >> shift)
    return words & 1


def encode(message: Bits) -> Bits:
    """Return the `CODE_BITS` of a message of `BITS`, six for each bit in turn."""
    # Register at step t: bits t, t-1, ... t-14 around the circle, the newest in the lowest place.
    steps = np.arange(len(message))
    register = sum(
        message[(steps - age) % len(message)].astype(np.int64) << age for age in range(_MEMORY + 1)
    )
    out: Bits = np.stack([_parity(np.asarray(register) & tap) for tap in _TAPS], 1).astype(np.uint8).ravel()
    return out


@functools.cache
def _tables() -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the output word of each butterfly's upper branch, and the signs of each of 64 output words."""
    register = 2 * np.arange(_HALF, dtype=np.int64)
    word = sum(_parity(register & tap) << place for place, tap in enumerate(_TAPS))
    signs = 1 - 2 * ((np.arange(64)[:, None] >> np.arange(len(_TAPS))) & 1)
    return np.asarray(word), signs.astype(np.float32)


def decode(soft: Floats) -> list[Bits]:
    """Return up to `LIST` messages, likeliest first, for `CODE_BITS` soft values (positive favours a zero).

    Time and memory are the same for every input: 2 x 96 steps over 16,384 states.
    """
    word, signs = _tables()
    branch = soft.reshape(BITS, len(_TAPS)).astype(np.float32) @ signs.T
    metric = np.zeros(_STATES, np.float32)
    came_from_high = np.empty((2 * BITS, _HALF, 2), bool)
    for step in range(2 * BITS):
        gain = branch[step % BITS][word]
        low, high = metric[:_HALF], metric[_HALF:]
        # Every generator taps the newest and the oldest bit, so the four branches of a butterfly carry one
        # word or its complement.
        pairs = np.empty((2, _HALF, 2), np.float32)
        np.add(low, gain, out=pairs[0, :, 0])
        np.subtract(high, gain, out=pairs[1, :, 0])
        np.subtract(low, gain, out=pairs[0, :, 1])
        np.add(high, gain, out=pairs[1, :, 1])
        np.greater(pairs[1], pairs[0], out=came_from_high[step])
        metric = np.maximum(pairs[0], pairs[1]).ravel()
    return _trace(metric, came_from_high.reshape(2 * BITS, _STATES))


def _trace(metric: Floats, came_from_high: npt.NDArray[np.bool_]) -> list[Bits]:
    """Return the messages of the best ends: the best path's middle turn, then second turns that close."""
    ends = np.argpartition(-metric, _ENDS)[:_ENDS]
    ends = ends[np.argsort(-metric[ends], kind="stable")]
    state = ends.copy()
    bits = np.empty((2 * BITS, _ENDS), np.uint8)
    closed = np.zeros(_ENDS, bool)
    for step in range(2 * BITS - 1, -1, -1):
        bits[step] = state & 1
        state = (state >> 1) + _HALF * came_from_high[step, state]
        if step == BITS:
            closed = state == ends
    # The turn from the middle of the first to the middle of the second has a run-up on both sides, and so
    # needs no closing; rolled, it begins with the message's first bit.
    middle = np.roll(bits[BITS // 2 : BITS // 2 + BITS, 0], BITS // 2)
    found = [middle, *(bits[BITS:, index] for index in np.flatnonzero(closed))]
    return found[:LIST]
