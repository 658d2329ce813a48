"""Key points as an index keeps them, and the inverted file that finds items by them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.guardrails.memorization.test_copies import drawing, pasted, with_changed_part
from tests.unit.guardrails.memorization.test_memorization_index import png

from clearmark.guardrails.memorization import (
    CopyChecker,
    Index,
    Item,
    checker,
    default_descriptor,
    entry_of,
)
from clearmark.guardrails.memorization._keypoints import (
    _FAINT,
    ASKED_SIDE,
    SIDE,
    STORED,
    _faint,
    _sift,
    apart,
    features,
    pack,
    unpack,
)
from clearmark.guardrails.memorization._words import Postings, offsets, votes
from clearmark.guardrails.memorization.checker import Gate


def test_what_is_packed_is_unpacked():
    found = features(drawing(1))
    kept = unpack(pack(found))
    count = min(STORED, len(found.points))
    assert len(kept.points) == count
    assert np.array_equal(kept.descriptors, found.descriptors[:count])
    assert np.array_equal(kept.small, found.small)
    assert (kept.size, kept.scale) == (found.size, pytest.approx(found.scale))
    assert np.abs(kept.points[:, :2] - found.points[:count, :2]).max() <= 1 / 128
    turned = np.abs(kept.points[:, 2] - found.points[:count, 2])
    assert np.minimum(turned, 360 - turned).max() <= 0.71
    assert np.abs(np.log2(kept.points[:, 3] / found.points[:count, 3])).max() < 0.03


def test_features_and_picture_come_apart():
    packed = pack(features(drawing(1)))
    assert apart(packed + b"picture") == (packed, b"picture")
    assert apart(b"picture") == (b"", b"picture")
    assert apart(b"") == (b"", b"")


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=60), cut=st.integers(1, 300))
def test_other_bytes_are_no_features(data, cut):
    packed = pack(features(np.full((40, 60, 3), 90, np.uint8)))
    for wrong in (data, packed[:-cut], packed + data + b"x"):
        with pytest.raises((ValueError, Exception)) as caught:
            unpack(wrong)
        assert type(caught.value).__name__ in {"ValueError", "error"}


def test_any_first_part_of_the_points_holds_strong_and_large_ones():
    found = features(drawing(2))
    sizes = found.points[:, 3]
    assert len(sizes) > 120
    large = np.sort(sizes)[::-1][:20]
    assert np.isin(large, sizes[:60]).mean() > 0.9


def test_faint_key_points_on_white_are_those_of_the_picture_itself():
    x = np.full((160, 224), 255, np.uint8)
    cv2.circle(x, (80, 80), 40, 252, -1)
    cv2.rectangle(x, (120, 30), (200, 90), 249, -1)
    found, descriptors = _faint(x)
    plain, same = _sift(_FAINT).detectAndCompute(x, None)
    assert 4 < len(found) < 80
    places, others = (np.array([(*p.pt, p.angle) for p in points]) for points in (found, plain))
    turned = np.abs(places[:, None, 2] - others[None, :, 2]) % 360
    apart = np.abs(places[:, None, :2] - others[None, :, :2]).sum(axis=2) + np.minimum(turned, 360 - turned)
    assert apart.min(axis=1).max() < 1
    assert np.abs(descriptors - same[apart.argmin(axis=1)]).mean() < 1


@pytest.fixture(scope="module")
def postings():
    return Postings.of([pack(features(drawing(seed))) for seed in range(30)] + [b""])


CHANGES = {
    "pasted": lambda x: pasted(x, drawing(99)),
    "template": lambda x: with_changed_part(x, drawing(99)),
    "mirrored": lambda x: np.ascontiguousarray(x[:, ::-1]),
    "turned": lambda x: np.ascontiguousarray(np.rot90(x)),
    "cut out": lambda x: x[60:230, 40:220],
    "small": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_item_that_is_shown_has_the_most_votes(postings, change):
    for seed in (3, 17):
        places, values = votes(postings, features(CHANGES[change](drawing(seed))))
        assert places[values.argmax()] == seed
        assert values.max() > 3 * np.sort(np.append(values, [0.0, 0.0]))[-2]


def test_the_offsets_of_words_change_no_answer(postings):
    query = features(pasted(drawing(4), drawing(98)))
    plain, fast = votes(postings, query), votes(postings, query, starts=offsets(postings.words))
    assert dict(zip(*map(np.ndarray.tolist, plain), strict=True)) == dict(
        zip(*map(np.ndarray.tolist, fast), strict=True)
    )


def test_a_plain_picture_gets_no_votes(postings):
    places, values = votes(postings, features(np.full((90, 90, 3), 7, np.uint8)))
    assert len(places) == len(values) == 0
    assert not len(votes(Postings.empty(), features(drawing(1)))[0])


@pytest.fixture
def index(tmp_path):
    descriptor = default_descriptor()
    with Index.create(tmp_path / "i", descriptor=descriptor.ref) as out:
        for half in (range(4), range(4, 8)):
            out.add(
                entry_of(png(drawing(n)), Item(key=f"k{n}", sha256=""), descriptor=descriptor) for n in half
            )
        yield out


def best(index, pixels):
    hits = index.near_features(features(pixels), 5)
    return index.item(hits[0].id).key if hits else None


def test_removed_and_merged_items_by_their_key_points(index, tmp_path):
    shown = pasted(drawing(3), drawing(99))
    assert best(index, shown) == "k3"
    index.remove(keys=["k3"], erase=False)
    assert best(index, shown) != "k3"
    index.remove(keys=["k3"])
    assert best(index, shown) != "k3"
    assert best(index, pasted(drawing(6), drawing(99))) == "k6"
    assert index.compact() == 7
    with Index.create(tmp_path / "other", descriptor=index.descriptor) as other:
        other.merge(index)
        for n in (0, 2, 6, 7):
            assert best(other, pasted(drawing(n), drawing(99))) == f"k{n}"
        assert [e.features for e in other.entries()] == [e.features for e in index.entries()]


def test_what_passes_no_gate_costs_no_geometry(index):
    shut = Gate(bits=-1, cosine=2.0, votes=1e9)
    assert CopyChecker(index, gate=shut).check_pixels(drawing(3)).matches == ()
    assert not CopyChecker(index).check_pixels(drawing(77)).memorized
    assert len(CopyChecker(index, gate=None).candidates(drawing(77))) >= 4
    assert CopyChecker(index).check_pixels(pasted(drawing(3), drawing(99))).matches[0].item.key == "k3"


def test_a_glance_at_shared_key_points_lets_a_pasted_part_through(index):
    shut = Gate(bits=-1, cosine=2.0, votes=1e9)
    part = pasted(drawing(3), drawing(99))
    assert CopyChecker(index, gate=shut).check_pixels(part).matches == ()
    glanced = CopyChecker(index, gate=replace(shut, places=5)).check_pixels(part)
    assert [match.item.key for match in glanced.matches] == ["k3"]
    assert CopyChecker(index, gate=replace(shut, places=5)).check_pixels(drawing(77)).matches == ()


def test_a_closer_look_adds_key_points():
    first, second = (features(drawing(3), detected=side) for side in (ASKED_SIDE, SIDE))
    assert 100 < len(first.points) < len(second.points)
    both = first.joined(second)
    assert len(both.points) == len(both.descriptors) == len(first.points) + len(second.points)
    assert np.array_equal(both.points[: len(first.points)], first.points)
    assert both.luma is first.luma


def test_a_picture_is_looked_at_again_only_where_something_is_near_and_not_sure(index, monkeypatch):
    sides = []

    def counted(pixels, **options):
        sides.append(options.get("detected", SIDE))
        return features(pixels, **options)

    monkeypatch.setattr(checker, "features", counted)
    shut = Gate(bits=-1, cosine=2.0, votes=1e9)
    looks = {}
    for name, pixels, gate in (
        ("nothing near", drawing(3), shut),
        ("a copy", drawing(3), checker.GATE),
        ("a small part", pasted(drawing(3)[:80, :80], drawing(99)), None),
    ):
        sides.clear()
        CopyChecker(index, gate=gate).candidates(pixels)
        looks[name] = list(sides)
    assert looks == {
        "nothing near": [ASKED_SIDE],
        "a copy": [ASKED_SIDE],
        "a small part": [ASKED_SIDE, SIDE],
    }


def test_an_item_without_a_picture_is_no_match_by_geometry_alone(tmp_path):
    descriptor = default_descriptor()
    with Index.create(tmp_path / "i", descriptor=descriptor.ref) as index:
        item = Item(key="k", sha256="")
        index.add([entry_of(png(drawing(3)), item, descriptor=descriptor, keep_picture=False)])
        found = CopyChecker(index).check_pixels(drawing(3)).matches[0]
        assert (found.region, found.kind) == (None, "near-duplicate")
