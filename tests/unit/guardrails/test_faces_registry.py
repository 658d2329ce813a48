"""Faces in pictures, and the registry of enrolled people: sealed, erasable, with consents that end."""

from __future__ import annotations

import io
from datetime import date, timedelta
from pathlib import Path

import PIL.Image
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Guard, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, KeyUnavailable, MediaError, UsageError
from clearmark.guardrails._media import read_rgb
from clearmark.guardrails.likeness import Consent, LikenessGuard, LikenessRegistry
from clearmark.guardrails.likeness._faces import find_faces

PORTRAIT = (Path(__file__).parents[2] / "assets" / "faces" / "astronaut.jpg").read_bytes()
LATER = date.today() + timedelta(days=30)  # noqa: DTZ011
ROW = [0.1] * 128


class TestLikenessGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return LikenessGuard()


class TestLikenessGuardWithRegistry(GuardContract):
    @pytest.fixture
    def guard(self, tmp_path: Path) -> Guard:
        registry = LikenessRegistry(tmp_path)
        registry.enrol_embeddings("someone", [ROW], basis="rights holder", until=LATER)
        return LikenessGuard(registry)


def _jpeg(quality: int, scale: float = 1.0, box: tuple[int, int, int, int] | None = None) -> bytes:
    picture = PIL.Image.open(io.BytesIO(PORTRAIT))
    picture = picture.crop(box) if box else picture
    picture = picture.resize((int(picture.width * scale), int(picture.height * scale)))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _subject(data: bytes, **request: object) -> Subject:
    asset = Asset(data=data, media_type="image/jpeg")
    return Subject(stage=Stage.OUTPUT, request=Request("x", **request), asset=asset)  # type: ignore[arg-type]


def test_a_face_is_found_and_counted() -> None:
    (face,) = find_faces(read_rgb(PORTRAIT))
    assert 40 < face.box.width < 200
    (finding,) = LikenessGuard().check([_subject(PORTRAIT)])[0]
    assert finding.facts["face_count"] == 1
    assert finding.score == 0.0


def test_an_enrolled_person_is_found_after_alterations(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    registry = LikenessRegistry(tmp_path)
    consent = Consent("C-1", ("advert",), LATER)
    registry.enrol("collins", [PORTRAIT], basis="rights holder", until=LATER, consents=[consent])
    guard = LikenessGuard(LikenessRegistry(tmp_path))
    for data in (_jpeg(90), _jpeg(30), _jpeg(90, 0.5), _jpeg(90, 1.0, (40, 10, 260, 220))):
        finding = guard.check([_subject(data)])[0][0]
        assert finding.score >= 0.5
        assert finding.evidence.match is not None
        assert finding.evidence.match.item == "collins"
        assert finding.facts["registered_consent"] is False
    allowed = guard.check([_subject(PORTRAIT, consent=("C-1",), purpose="advert")])[0][0]
    assert allowed.facts["registered_consent"] is True
    other = guard.check([_subject(PORTRAIT, consent=("C-1",), purpose="news")])[0][0]
    assert other.facts["registered_consent"] is False


def test_a_stranger_scores_low(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    registry = LikenessRegistry(tmp_path)
    registry.enrol_embeddings("someone", [ROW], basis="staff", until=LATER)
    assert LikenessGuard(registry).check([_subject(PORTRAIT)])[0][0].score < 0.5


def test_enrolment_needs_one_face(tmp_path: Path) -> None:
    registry = LikenessRegistry(tmp_path)
    out = io.BytesIO()
    PIL.Image.new("RGB", (64, 64)).save(out, "PNG")
    with pytest.raises(UsageError, match="0 faces"):
        registry.enrol("x", [out.getvalue()], basis="staff", until=LATER)
    with pytest.raises(MediaError):
        registry.enrol("x", [b"no picture"], basis="staff", until=LATER)
    with pytest.raises(UsageError):
        registry.enrol("x", [], basis="staff", until=LATER)
    with pytest.raises(UsageError):
        registry.enrol_embeddings("x", [[0.0] * 3], basis="staff", until=LATER)


def test_the_file_is_sealed_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    registry = LikenessRegistry(tmp_path)
    registry.enrol_embeddings("someone-secret", [ROW], basis="staff", until=LATER)
    assert b"someone-secret" not in (tmp_path / "registry.sealed").read_bytes()
    for name in ("registry.sealed", "registry.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert len(LikenessRegistry(tmp_path)) == 1


def test_a_touched_file_or_key_does_not_open(tmp_path: Path) -> None:
    LikenessRegistry(tmp_path).enrol_embeddings("someone", [ROW], basis="staff", until=LATER)
    sealed = tmp_path / "registry.sealed"
    data = bytearray(sealed.read_bytes())
    data[20] ^= 1
    sealed.write_bytes(data)
    with pytest.raises(KeyUnavailable):
        LikenessRegistry(tmp_path)
    (tmp_path / "registry.key").chmod(0o644)
    with pytest.raises(KeyUnavailable, match="others"):
        LikenessRegistry(tmp_path)
    (tmp_path / "registry.key").unlink()
    with pytest.raises(KeyUnavailable, match="missing"):
        LikenessRegistry(tmp_path)


def test_erasing_and_expiring_forget_people(tmp_path: Path) -> None:
    import numpy as np

    registry = LikenessRegistry(tmp_path)
    registry.enrol_embeddings("one", [ROW], basis="staff", until=LATER)
    registry.enrol_embeddings("two", [ROW], basis="staff", until=date(2020, 1, 1))
    face = np.array(ROW, dtype=np.float32)
    assert registry.match(face) is not None
    assert registry.match(face, today=LATER + timedelta(days=1)) is None
    assert registry.purge() == ("two",)
    registry.erase("one")
    assert registry.match(face) is None
    assert len(LikenessRegistry(tmp_path)) == 0
    with pytest.raises(UsageError):
        registry.erase("one")


def test_consents_are_added_withdrawn_and_end(tmp_path: Path) -> None:
    registry = LikenessRegistry(tmp_path)
    registry.enrol_embeddings("one", [ROW], basis="actor", until=LATER)
    registry.consent("one", Consent("C-1", ("any",), date(2025, 1, 2)))
    (consent,) = LikenessRegistry(tmp_path).people()[0].consents
    assert consent.covers(["C-1"], "film", date(2025, 1, 2))
    assert not consent.covers(["C-1"], "film", date(2025, 1, 3))
    assert not consent.covers(["C-2"], "film", date(2025, 1, 2))
    registry.withdraw("one", "C-1")
    assert LikenessRegistry(tmp_path).people()[0].consents == ()


def test_without_a_picture_the_guard_is_unavailable() -> None:
    with pytest.raises(GuardUnavailable):
        LikenessGuard().check([Subject(stage=Stage.OUTPUT, request=Request("x"))])
