"""What is added is found, what is removed is gone from every answer and file, and a kill loses nothing."""

import hashlib
import io
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Request, Stage, Subject
from clearmark.core.errors import MediaError, UsageError
from clearmark.guardrails.memorization import (
    CopyChecker,
    Entry,
    Index,
    IndexDamaged,
    Item,
    MemorizationGuard,
    _scan,
    calibrate,
    default_descriptor,
    entry_of,
    pdq,
)
from clearmark.guardrails.memorization.calibration import interval, needed
from clearmark.guardrails.memorization.hashes import pdq_dihedral


def picture(seed, width=240, height=200):
    rng = np.random.default_rng(seed)
    x = np.zeros((height, width, 3), dtype=np.uint8)
    for side in (6, 14, 40):
        part = PIL.Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        x = x // 2 + np.asarray(part.resize((width, height), PIL.Image.Resampling.BICUBIC)) // 2
    return x


def png(pixels):
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


def made(seed):
    rng = np.random.default_rng(seed)
    item = Item(key=f"k{seed}", sha256=hashlib.sha256(bytes([seed % 256])).hexdigest(), licence="CC0-1.0")
    codes = rng.integers(0, 256, (3, 64), dtype=np.uint8)
    return Entry(item, rng.bytes(32), codes, b"picture " + rng.bytes(40))


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "i", descriptor="test@sha256:00") as out:
        out.add(made(seed) for seed in range(20))
        yield out


def test_what_is_added_is_found(index):
    for seed in (0, 7, 19):
        entry = made(seed)
        (hit, *_) = index.near_hashes(np.frombuffer(entry.pdq, np.uint8)[None], 3)
        assert (index.item(hit.id).key, hit.value) == (f"k{seed}", 0)
        assert index.picture(hit.id) == entry.picture


def test_adding_twice_adds_once(index):
    assert index.add([made(3), made(30)]) == 1
    assert len(index) == 21


@pytest.mark.parametrize("erase", [True, False])
def test_removed_is_gone(index, erase):
    entry = made(7)
    done = index.remove(keys=["k7"], erase=erase)
    assert done.items == 1
    assert done.before != done.after == index.digest
    found = index.near_hashes(np.frombuffer(entry.pdq, np.uint8)[None], 20)
    assert "k7" not in {index.item(hit.id).key for hit in found}
    assert len(found) == 19
    held = b"".join(path.read_bytes() for path in index.path.rglob("*") if path.is_file())
    for part in (entry.pdq, entry.codes.tobytes(), entry.picture, b"k7", entry.item.sha256.encode()):
        assert (part in held) is (not erase)
    assert made(8).pdq in held


def test_an_unknown_item_cannot_be_removed(index):
    with pytest.raises(UsageError):
        index.remove(keys=["nobody"])


def test_merge_and_compact_keep_every_item(index, tmp_path):
    with Index.create(tmp_path / "other", descriptor="test@sha256:00") as other:
        other.add(made(seed) for seed in range(15, 40))
        assert index.merge(other) == 20
    assert index.compact() == 40
    assert index.stats()["segments"] == 1
    again = {entry.item.key: entry for entry in index.entries()}
    for seed in range(40):
        assert again[f"k{seed}"].pdq == made(seed).pdq
        assert np.array_equal(again[f"k{seed}"].codes, made(seed).codes)


def test_codes_of_another_descriptor_are_not_merged(index, tmp_path):
    with Index.create(tmp_path / "other", descriptor="else@sha256:00") as other, pytest.raises(UsageError):
        index.merge(other)


def test_a_changed_byte_is_found(index):
    (path,) = (index.path / "segments").glob("*.seg")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with Index(index.path) as again, pytest.raises(IndexDamaged):
        again.near_hashes(np.zeros((1, 32), np.uint8), 1)


_CHILD = """
import sys, hashlib, numpy as np
from clearmark.guardrails.memorization import Entry, Index, Item
index = Index(sys.argv[1])
for n in range(int(sys.argv[2]), 10**6):
    rng = np.random.default_rng(n)
    item = Item(key=f"c{n}", sha256="0" * 64)
    index.add([Entry(item, rng.bytes(32), rng.integers(0, 256, (1, 64), dtype=np.uint8), b"x")])
    print(n, flush=True)
    if n % 5 == 4: index.compact()
"""


def test_a_kill_loses_no_acknowledged_item(index):
    said = -1
    for _ in range(3):
        words = [sys.executable, "-c", _CHILD, str(index.path), str(said + 1)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            for count, line in enumerate(child.stdout):
                said = int(line)
                if count == 6:
                    child.send_signal(signal.SIGKILL)
        with Index(index.path) as again:
            keys = {entry.item.key for entry in again.entries()}
            assert {f"c{n}" for n in range(said + 1)} <= keys
            assert {f"k{n}" for n in range(20)} <= keys


def test_numpy_finds_what_faiss_finds(monkeypatch):
    pytest.importorskip("faiss")
    table = np.random.default_rng(1).integers(0, 256, (500, 64), dtype=np.uint8)
    _, ours = _scan.nearest(table, table[:5] ^ 3, 7)
    monkeypatch.setattr(_scan, "_faiss", lambda: None)
    _, plain = _scan.nearest(table, table[:5] ^ 3, 7)
    assert np.array_equal(ours, plain)


def test_pdq_is_that_of_the_reference():
    peer = pytest.importorskip("pdqhash")
    for seed in range(5):
        pixels = picture(seed)
        bits, quality = peer.compute(pixels)
        assert (pdq(pixels).bits, pdq(pixels).quality) == (np.packbits(bits).tobytes(), quality)


def test_the_eight_hashes_are_those_of_the_turned_pictures():
    pixels = picture(3, 256, 256)
    codes, _ = pdq_dihedral(pixels)
    for turned in (pixels, pixels[:, ::-1], pixels[::-1], np.rot90(pixels)):
        code = np.frombuffer(pdq(np.ascontiguousarray(turned)).bits, np.uint8)
        # The sampling grid is not symmetric, so a turned picture differs a little;
        # 31 bits is PDQ's own limit.
        assert np.bitwise_count(codes ^ code).sum(axis=1).min() <= 31


def test_a_threshold_says_what_it_rests_on():
    found = calibrate([0.1] * 997 + [0.8, 0.9, 0.95], target=1e-3)
    assert (found.alarms, found.negatives, found.needed) == (1, 1000, 2995)
    assert not found.supported
    assert found.low < 1e-3 < found.high
    assert calibrate([0.1] * 3000, target=1e-3).supported
    assert interval(0, needed(1e-2))[1] <= 1e-2


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "index"
    with Index.create(path, descriptor=default_descriptor().ref) as out:
        out.add(
            entry_of(png(picture(s)), Item(key=f"p{s}", sha256=""), descriptor=default_descriptor())
            for s in range(6)
        )
    return path


def kind_of(path, pixels):
    with Index(path) as index:
        return CopyChecker(index).check(png(pixels))


def test_copies_are_found_and_named(filled):
    whole = kind_of(filled, picture(2))
    assert (whole.memorized, whole.matches[0].item.key, whole.matches[0].kind) == (True, "p2", "verbatim")
    crop = kind_of(filled, picture(2)[40:170, 50:220])
    assert (crop.memorized, crop.matches[0].item.key, crop.matches[0].kind) == (True, "p2", "cropped")
    mirrored = kind_of(filled, picture(4)[:, ::-1])
    assert mirrored.memorized
    assert mirrored.matches[0].region.mirrored
    ground = picture(99, 480, 400)
    ground[100:300, 120:360] = picture(1)
    part = kind_of(filled, ground)
    assert (part.matches[0].item.key, part.matches[0].kind) == ("p1", "part")
    box = part.matches[0].region.box
    overlap = max(0, min(box.x + box.width, 360) - max(box.x, 120)) * max(
        0, min(box.y + box.height, 300) - max(box.y, 100)
    )
    assert overlap / (box.width * box.height + 240 * 200 - overlap) > 0.7


def test_strangers_and_blank_pictures_are_none(filled):
    assert not any(kind_of(filled, picture(seed)).memorized for seed in range(50, 55))
    assert not kind_of(filled, np.full((64, 64, 3), 255, np.uint8)).memorized
    with pytest.raises(MediaError):
        entry_of(
            png(np.zeros((9, 9, 3), np.uint8)), Item(key="b", sha256=""), descriptor=default_descriptor()
        )


class TestMemorizationGuard(GuardContract):
    @pytest.fixture
    def guard(self, filled):
        return MemorizationGuard(filled)

    def test_a_copy_names_the_item(self, guard):
        asset = Asset(data=png(picture(2)), media_type="image/png")
        (finding,) = guard.check([Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)])[0]
        assert finding.score >= finding.threshold
        assert finding.evidence.match.item == "p2"
        assert finding.evidence.box.width > 200
