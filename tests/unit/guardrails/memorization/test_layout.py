"""Dense agreement of layouts: soft copies agree, others and plain pictures do not."""

import cv2
import numpy as np
import pytest
from tests.unit.guardrails.memorization.test_copies import drawing, with_changed_part
from tests.unit.guardrails.memorization.test_memorization_index import png

from clearmark.guardrails.memorization import CopyChecker, Index, Item, default_descriptor, entry_of
from clearmark.guardrails.memorization._layout import agreement, layout, turned
from clearmark.guardrails.memorization.checker import Gate
from clearmark.guardrails.memorization.geometry import features, soft_region


def grey(x):
    return cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY)


def agree(one, other):
    return agreement(turned(layout(grey(one))), layout(grey(other)))


def softened(x):
    """What an autoencoder leaves: no fine detail, other colours."""
    small = cv2.resize(x, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.resize((small * 0.8 + 20).astype(np.uint8), x.shape[1::-1], interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("turn", range(8))
def test_a_soft_copy_agrees_however_it_is_turned(turn):
    x = drawing(1)
    shown = np.rot90(softened(x)[:, ::-1] if turn >= 4 else softened(x), turn % 4)
    found = agree(shown, x)
    assert found.share > 0.9
    assert found.weight == 1.0
    assert found.common().mean() > 0.9


def test_other_pictures_do_not_agree():
    shares = [found.share * found.weight for n in range(2, 14) for found in [agree(drawing(1), drawing(n))]]
    assert max(shares) < 0.25


def stripes():
    x = np.zeros((120, 180, 3), np.uint8)
    x[:, 60:120], x[:, 120:] = 240, 90
    return x


def slope():
    return np.repeat(np.linspace(0, 255, 180).astype(np.uint8)[None, :, None], 120, 0).repeat(3, 2)


@pytest.mark.parametrize("plain", [stripes(), slope(), np.full((90, 90, 3), 200, np.uint8)])
def test_plain_pictures_say_nothing(plain):
    assert agree(plain, plain).weight < 0.2


def test_the_changed_part_is_left_out_of_what_is_common():
    x = drawing(3)
    changed = x.copy()
    changed[150:, 130:] = drawing(44)[150:, 130:]
    common = agree(changed[:, ::-1], x).common()
    # Mirrored, the changed quarter is at the lower left.
    assert common[:28, 36:].mean() > 0.9
    assert common[40:, :24].mean() < 0.3


def test_a_region_follows_from_layouts_alone():
    x = drawing(1)
    region = soft_region(features(softened(x)), agree(softened(x), x))
    assert region is not None
    assert (region.kind, region.inliers, region.mirrored) == ("verbatim", 0, False)
    assert region.box.width > 0.9 * x.shape[1]
    assert soft_region(features(drawing(2)), agree(drawing(2), x)) is None


def test_the_nearest_that_the_gate_shuts_out_is_let_through_for_its_layout(tmp_path):
    descriptor = default_descriptor()
    with Index.create(tmp_path / "i", descriptor=descriptor.ref) as index:
        index.add(
            entry_of(png(drawing(n)), Item(key=f"k{n}", sha256=""), descriptor=descriptor) for n in range(6)
        )
        hard = Gate(bits=-1, cosine=2.0, votes=1e9)
        soft = Gate(bits=-1, cosine=2.0, votes=1e9, soft_bits=96, soft_cosine=0.6, layout=0.25)
        shown = softened(with_changed_part(drawing(3), drawing(50)))
        assert CopyChecker(index, gate=hard).candidates(shown) == []
        (found,) = CopyChecker(index, gate=soft).candidates(shown)
        assert found.item.key == "k3"
        assert CopyChecker(index, gate=soft).candidates(drawing(77)) == []
