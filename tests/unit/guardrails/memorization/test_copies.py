"""What a changed picture is called, where the copy is, and that a look-alike is none."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.unit.guardrails.memorization.test_memorization_index import picture, png

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization import (
    CopyChecker,
    Index,
    Item,
    default_descriptor,
    entry_of,
    evidence_page,
)
from clearmark.guardrails.memorization._weigh import fit_weights, read_evidence
from clearmark.guardrails.memorization.calibration import EVIDENCE, probability, signals
from clearmark.guardrails.memorization.geometry import Features, features, locate, shown_alike


def drawing(seed):
    """A picture with shapes in it, so that there are places to agree on."""
    rng = np.random.default_rng(seed)
    x = picture(seed, 300, 260).copy()
    for _ in range(40):
        at = tuple(int(v) for v in rng.integers(0, 260, 2))
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        cv2.circle(x, at, int(rng.integers(4, 24)), colour, -1)
    return x


def within(mask, box):
    """The overlap of a mask and of the box (left, top, right, bottom), in shares of the picture."""
    truth = np.zeros(mask.shape, bool)
    height, width = mask.shape
    left, top, right, bottom = box
    truth[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    descriptor = default_descriptor()
    index = Index.create(tmp_path_factory.mktemp("copies") / "i", descriptor=descriptor.ref)
    items = [Item(key=f"k{n}", sha256="", licence="CC0-1.0", creator="<b>someone</b>") for n in range(8)]
    index.add(entry_of(png(drawing(n)), item, descriptor=descriptor) for n, item in enumerate(items))
    with index:
        yield CopyChecker(index)


def pasted(x, other):
    out = cv2.resize(other, (400, 360))
    out[60:210, 100:280] = cv2.resize(x, (180, 150), interpolation=cv2.INTER_AREA)
    return out


def with_changed_part(x, other):
    out = x.copy()
    out[60:200, 80:230] = other[:140, :150]
    return out


CHANGES = {
    "verbatim": (lambda x, o: cv2.GaussianBlur(x, (0, 0), 0.8), (0, 0, 1, 1)),
    "cropped": (lambda x, o: x[40:230, 50:260], (0, 0, 1, 1)),
    "part": (pasted, (0.25, 1 / 6, 0.7, 210 / 360)),
    "template": (with_changed_part, None),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_kind_and_region(checker, kind, mirrored):
    change, box = CHANGES[kind]
    x = change(drawing(3), drawing(99))
    found = checker.check(png(x[:, ::-1] if mirrored else x))
    best = found.matches[0]
    assert (best.item.key, best.kind, found.memorized) == ("k3", kind, True)
    assert best.region.mirrored is mirrored
    if box is not None:
        mask = best.region.mask[:, ::-1] if mirrored else best.region.mask
        assert within(mask, box) > 0.7
    else:
        height, width = best.region.mask.shape
        mask = best.region.mask[:, ::-1] if mirrored else best.region.mask
        changed = mask[int(0.3 * height) : int(0.7 * height), int(0.35 * width) : int(0.7 * width)]
        assert changed.mean() < 0.3 < 0.4 < mask.mean()


def test_another_picture_is_no_copy(checker):
    for seed in range(50, 56):
        assert not checker.check_pixels(drawing(seed)).memorized


def test_a_flag_is_no_copy_of_another_one(tmp_path):
    descriptor = default_descriptor()
    bands = np.zeros((120, 180, 3), np.uint8)

    def flag(*colours):
        out = bands.copy()
        for place, colour in enumerate(colours):
            out[:, 60 * place : 60 * place + 60] = colour
        return out

    green, blue = (
        flag((0, 140, 70), (240, 240, 240), (200, 40, 50)),
        flag((0, 35, 150), (255, 255, 255), (237, 41, 57)),
    )
    with Index.create(tmp_path / "i", descriptor=descriptor.ref) as index:
        index.add([entry_of(png(green), Item(key="flag", sha256=""), descriptor=descriptor)])
        assert not CopyChecker(index).check_pixels(blue).memorized


def test_the_flipped_features_are_those_of_the_flipped_picture():
    x = drawing(5)
    flipped, again = features(x).flipped(), features(np.ascontiguousarray(x[:, ::-1]))
    apart = np.linalg.norm(flipped.points[:, None, :2] - again.points[None, :, :2], axis=2)
    # Both keep the 500 strongest of more, not the same ones.
    near = np.flatnonzero(apart.min(axis=1) < 0.5)
    assert len(near) > 0.3 * len(flipped.points)
    one = flipped.descriptors[near].astype(float)
    other = again.descriptors[apart[near].argmin(axis=1)].astype(float)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert np.median(cosine) > 0.98


def test_a_blank_picture_has_no_region():
    blank = features(np.full((90, 120, 3), 200, np.uint8))
    assert isinstance(blank, Features)
    assert locate(blank, blank.flipped(), features(drawing(1))) is None


def test_what_lies_on_itself_looks_the_same_and_on_another_picture_does_not():
    one, other = (features(drawing(n)).luma for n in (3, 4))
    as_it_lies = np.float64([[1, 0, 0], [0, 1, 0]])
    assert shown_alike(one, one, as_it_lies) > 0.95
    assert shown_alike(255 - one, one, as_it_lies) == 0
    assert shown_alike(one, other, as_it_lies) < 0.1
    assert shown_alike(one, one, np.float64([[1, 0, 9], [0, 1, 4]])) < 0.3
    blank = np.full_like(one, 200)
    assert shown_alike(blank, blank, as_it_lies) == 0


def test_few_key_points_make_a_region_only_where_the_pictures_look_the_same():
    item = features(drawing(3))
    places, chosen = set(), []
    for number, (x, y) in enumerate(item.points[:, :2] // 40):
        if (x, y) not in places and len(chosen) < 5:
            places.add((x, y))
            chosen.append(number)
    few = replace(item, points=item.points[chosen], descriptors=item.descriptors[chosen])
    stored = replace(item, luma=None)
    found = locate(few, few.flipped(), stored, lambda: pixels_of(3, item.size))
    assert (found.kind, found.mirrored) == ("verbatim", False)
    assert 4 <= found.inliers <= 5
    assert found.dense > 0.8
    assert found.colour < 0.03
    assert locate(few, few.flipped(), stored, lambda: pixels_of(4, item.size)) is None
    assert locate(few, few.flipped(), stored) is None


def pixels_of(seed, size):
    return cv2.resize(drawing(seed), size[::-1], interpolation=cv2.INTER_AREA)


def test_the_same_picture_is_fitted_in_the_same_way_every_time():
    item, query = features(drawing(3)), features(pasted(drawing(3), drawing(99)))
    found = [locate(query, query.flipped(), item) for _ in range(2)]
    assert (found[0].inliers, found[0].box) == (found[1].inliers, found[1].box)


def test_colours_are_compared_where_the_item_lies(checker):
    x = drawing(3)
    framed = cv2.copyMakeBorder(x, 90, 90, 90, 90, cv2.BORDER_CONSTANT, value=(250, 0, 250))
    at = EVIDENCE.index("colour")
    of = {
        match.item.key: match.evidence[at] for match in checker.candidates(framed) if match.region is not None
    }
    assert of["k3"] > 0.8
    recoloured = np.ascontiguousarray(framed[..., ::-1])
    again = {match.item.key: match.evidence[at] for match in checker.candidates(recoloured)}
    assert again["k3"] < of["k3"] - 0.1


def test_evidence_page_is_one_file_and_escapes(checker):
    data = png(pasted(drawing(3), drawing(99)))
    page = evidence_page(data, checker, checker.check(data), title="<script>")
    assert "<script>" not in page
    assert "&lt;b&gt;someone&lt;/b&gt;" in page
    assert "A part of the item stands in the picture" in page
    assert set(re.findall(r'src="([^:]+):', page)) == {"data"}
    assert page.count("<img") == 3
    assert "http" not in page


def test_evidence_page_without_any_match(tmp_path):
    descriptor = default_descriptor()
    with Index.create(tmp_path / "i", descriptor=descriptor.ref) as index:
        checker = CopyChecker(index)
        data = png(drawing(1))
        assert "Nothing in the index is near" in evidence_page(data, checker, checker.check(data))


def rows(rng, number, shift):
    return [
        [round(float(v), 4) for v in np.clip(rng.normal(shift, 0.1, len(EVIDENCE)), 0, 1)]
        for _ in range(number)
    ]


def test_weights_are_fitted_to_what_tells_copies_apart(tmp_path):
    rng = np.random.default_rng(4)
    lines = [{"head": 1}]
    for n in range(80):
        (right,), wrong = rows(rng, 1, 0.7), rows(rng, 3, 0.2)
        lines.append({"key": f"c{n}", "right": "i", "found": [{"key": "i", "evidence": right}]})
        lines.append(
            {
                "key": f"n{n}",
                "right": "",
                "found": [{"key": f"w{k}", "evidence": w} for k, w in enumerate(wrong)],
            }
        )
    # A labelled pair is no negative, however alike.
    lines.append(
        {"key": "reuse", "right": "", "found": [{"key": "i", "evidence": [1.0] * len(EVIDENCE)}] * 2}
    )
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, lines)))
    positives, negatives = read_evidence(tmp_path / "e.jsonl", {"reuse": ["i"]})
    assert (len(positives), len(negatives)) == (80, 80)
    document = json.loads(fit_weights(positives, negatives))
    weights = np.array([document["weights"][name] for name in EVIDENCE])
    assert (positives @ weights + document["bias"] > 0).mean() > 0.95
    assert max((some @ weights + document["bias"]).max() for some in negatives) < 0
    assert all(w >= 0 for name, w in document["weights"].items() if name != "detail")


def test_too_little_evidence_is_refused(tmp_path):
    (tmp_path / "e.jsonl").write_text('{"head": 1}\n')
    with pytest.raises(UsageError):
        read_evidence(tmp_path / "e.jsonl", {})


def test_nothing_alike_is_improbable_and_everything_alike_is_certain():
    assert probability(signals(distance=256, cosine=0.0, votes=0.0, points=0, colour=1.0, region=None)) < 0.05
    assert probability([1.0] * len(EVIDENCE)) > 0.99
