"""Known pictures by hash, and what an edit did to a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Box, Guard, Request, Stage, Subject
from clearmark.core.errors import UsageError
from clearmark.guardrails.output import HashBank, HashBankGuard, edit_facts, pdq, skin_share

PORTRAIT = (Path(__file__).parents[2] / "assets" / "faces" / "astronaut.jpg").read_bytes()
OTHER = "f0" * 32


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def _bank() -> HashBank:
    return HashBank("known", "sexual", [(pdq(PORTRAIT)[0].hex(), "case-1"), (OTHER, "case-2")])


class TestHashBankGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return HashBankGuard([_bank()])


def _check(data: bytes) -> tuple[float, bool]:
    asset = Asset(data=data, media_type="image/jpeg")
    finding = HashBankGuard([_bank()]).check(
        [Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)]
    )[0][0]
    return finding.score, bool(finding.facts["known_picture"])


def test_a_known_picture_is_found_after_alterations() -> None:
    picture = PIL.Image.open(io.BytesIO(PORTRAIT))
    for size, quality in ((picture.size, 20), ((150, 150), 80), ((600, 600), 60)):
        out = io.BytesIO()
        picture.resize(size).save(out, "JPEG", quality=quality)
        score, known = _check(out.getvalue())
        assert known
        assert score >= 0.5


def test_others_are_not_known() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3))
    assert _check(_png(noise)) == (pytest.approx(0.0, abs=0.499), False)
    flipped = PIL.Image.open(io.BytesIO(PORTRAIT)).transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM)
    assert not _check(_png(np.asarray(flipped)))[1]
    assert _check(_png(np.zeros((64, 64, 3)))) == (0.0, False)


def test_banks_are_read_and_written() -> None:
    text = f"hash,quality,label\n# from an exchange\n{OTHER},100,case 7\npdq:{'ab' * 32}\n\n{'CD' * 32},80\n"
    bank = HashBank.read("known", "sexual", text)
    assert len(bank) == 3
    match = bank.match(bytes.fromhex(OTHER))
    assert match is not None
    assert (match.label, match.distance) == ("case 7", 0)
    again = HashBank.read("known", "sexual", bank.write())
    assert again.write() == bank.write()


def test_distance_counts_bits() -> None:
    bits = bytearray(bytes.fromhex(OTHER))
    bits[3] ^= 0b101
    match = HashBank("known", "hate", [(OTHER, "x")]).match(bytes(bits))
    assert match is not None
    assert match.distance == 2


@pytest.mark.parametrize("text", ["zz" * 32, "ab" * 31, "hello", "ab" * 33])
def test_what_is_no_bank_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="line 1"):
        HashBank.read("known", "sexual", text)


def test_a_guard_without_banks_is_refused() -> None:
    with pytest.raises(UsageError):
        HashBankGuard([])
    with pytest.raises(UsageError, match="unknown category"):
        HashBank("known", "nonsense")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=120))
def test_any_bank_text_is_read_or_refused(text: str) -> None:
    try:
        HashBank.read("known", "sexual", text)
    except UsageError as exc:
        assert exc.hint  # noqa: PT017


def _dressed(skin: bool) -> np.ndarray:
    picture = np.full((256, 256, 3), (40, 60, 120))
    picture[20:60, 108:148] = (224, 172, 145)
    picture[60:250, 70:190] = (224, 172, 145) if skin else (30, 120, 60)
    return picture


def test_more_skin_below_a_face_is_undressing() -> None:
    face = Box(108, 20, 40, 40)
    mask = np.zeros((256, 256, 3))
    mask[60:250, 70:190] = 255
    facts = edit_facts(_png(_dressed(False)), _png(_dressed(True)), _png(mask), [face])
    assert facts.undressing
    assert facts.body_masked > 0.5
    assert facts.skin_gain > 0.3
    assert facts.to_facts()["edit_undressing"] is True


def test_other_edits_are_not() -> None:
    face = Box(108, 20, 40, 40)
    same = edit_facts(_png(_dressed(False)), _png(_dressed(False)), None, [face])
    assert not same.undressing
    assert same.changed == 0.0
    dressing = edit_facts(_png(_dressed(True)), _png(_dressed(False)), None, [face])
    assert not dressing.undressing
    assert dressing.skin_gain < 0
    assert not edit_facts(_png(_dressed(False)), _png(_dressed(True))).undressing
    with pytest.raises(UsageError):
        edit_facts(_png(_dressed(False)), _png(_dressed(True)), None, [Box(900, 0, 5, 5)])


def test_skin_is_told_by_colour() -> None:
    for tone in ((224, 172, 145), (141, 85, 60), (92, 58, 41)):
        assert skin_share(_png(np.full((32, 32, 3), tone))) == 1.0
    for tone in ((40, 60, 120), (30, 120, 60), (128, 128, 128), (250, 250, 250)):
        assert skin_share(_png(np.full((32, 32, 3), tone))) == 0.0
