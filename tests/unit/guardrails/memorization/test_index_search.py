"""Exact search at scale: multi-index hashing finds what a scan finds, and removed rows hide nothing."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.guardrails.memorization import Entry, Index, Item, _hashing, index
from clearmark.guardrails.memorization._hashing import REACH, HashTable


def flipped(code, bits, rng):
    """Return `code` with `bits` of its bits turned over."""
    out = np.unpackbits(code)
    out[rng.permutation(len(out))[:bits]] ^= 1
    return np.packbits(out)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 256, (3000, 32), dtype=np.uint8)
    hashes[100] = hashes[7]  # two of the same
    return hashes, HashTable(hashes)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), row=st.integers(0, 2999), bits=st.integers(0, 60))
def test_hashing_finds_all_that_a_scan_finds(table, seed, row, bits):
    hashes, tables = table
    query = flipped(hashes[row], bits, np.random.default_rng(seed))
    far = np.bitwise_count(hashes ^ query).sum(axis=1)
    wanted = sorted((int(far[n]), int(n)) for n in np.flatnonzero(far <= REACH))
    ((rows, distances),) = tables.within(query[None])
    assert [(int(d), int(r)) for r, d in zip(rows, distances, strict=True)] == wanted
    assert (row in rows) is (bits <= REACH)


def made(seed, *, pdq=None, codes=None):
    rng = np.random.default_rng(seed)
    item = Item(key=f"k{seed}", sha256=hashlib.sha256(str(seed).encode()).hexdigest())
    codes = rng.integers(0, 256, (2, 64), dtype=np.uint8) if codes is None else codes
    return Entry(item, pdq or rng.bytes(32), codes, rng.bytes(int(rng.integers(0, 40))))


def test_large_segments_are_searched_by_hashing(tmp_path, monkeypatch):
    monkeypatch.setattr(HashTable, "LEAST", 16)
    with Index.create(tmp_path / "i", descriptor="t@sha256:00") as found:
        found.add(made(seed) for seed in range(40))
        rng = np.random.default_rng(0)
        for seed in range(40):
            query = flipped(np.frombuffer(made(seed).pdq, np.uint8), 20, rng)
            (hit, *_) = found.near_hashes(query[None], 3)
            assert (found.item(hit.id).key, hit.value) == (f"k{seed}", 20)
        found.remove(keys=["k3"], erase=False)
        assert not found.near_hashes(np.frombuffer(made(3).pdq, np.uint8)[None], 3)
        assert found._tables
        found.remove(keys=["k3"])
        assert set(found._tables) <= {segment.name for segment in found._segments} | set(found._tables)
        assert not found.near_hashes(np.frombuffer(made(3).pdq, np.uint8)[None], 3)


def test_many_removed_rows_do_not_hide_what_is_left(tmp_path):
    """Every nearer row is removed and not erased; what is left is still found, at any depth."""
    codes = np.zeros((1, 64), np.uint8)
    rng = np.random.default_rng(1)
    with Index.create(tmp_path / "i", descriptor="t@sha256:00") as found:
        near = [made(n, pdq=bytes(32), codes=codes) for n in range(300)]
        far = flipped(codes[0], 200, rng)
        found.add([*near, made(999, pdq=flipped(np.zeros(32, np.uint8), 20, rng).tobytes(), codes=far[None])])
        found.remove(keys=[e.item.key for e in near], erase=False)
        vector = np.full((1, 512), -1 / np.sqrt(512), np.float32)
        assert [found.item(hit.id).key for hit in found.near_vectors(vector, 5, depth=4)] == ["k999"]
        assert [found.item(hit.id).key for hit in found.near_hashes(np.zeros((1, 32), np.uint8), 3)] == [
            "k999"
        ]


def test_compaction_keeps_segments_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SEGMENT_ITEMS", 10)
    with Index.create(tmp_path / "i", descriptor="t@sha256:00") as found:
        for first in range(0, 36, 3):
            found.add(made(seed) for seed in range(first, first + 3))
        assert found.compact() == 36
        sizes = [items for _, items in found._catalogue.segments()]
        assert max(sizes) <= 10
        assert len(sizes) == 4
        again = {entry.item.key: entry for entry in found.entries()}
        for seed in range(36):
            assert again[f"k{seed}"].pdq == made(seed).pdq
            assert again[f"k{seed}"].picture == made(seed).picture
            assert np.array_equal(again[f"k{seed}"].codes, made(seed).codes)


def test_reach_is_what_sixteen_words_guarantee():
    assert _hashing.REACH == 2 * 16 - 1
