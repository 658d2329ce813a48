"""Guards by name: all that ship, and what they take from the state folder."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clearmark.core import Asset, Box, Request, Stage, Subject, Task
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails import default_guards, get_guard, guard_names, run_guards
from clearmark.guardrails.adapters import Checkpoint
from clearmark.guardrails.likeness import LikenessRegistry
from clearmark.guardrails.output import TextGuard, pdq

PORTRAIT = (Path(__file__).parents[2] / "assets" / "faces" / "astronaut.jpg").read_bytes()


def _subject(data: bytes, request: Request | None = None) -> Subject:
    asset = Asset(data=data, media_type="image/jpeg")
    return Subject(stage=Stage.OUTPUT, request=request or Request("x"), asset=asset)


def _bank(home: Path, category: str, text: str) -> None:
    folder = home / "banks" / category
    folder.mkdir(parents=True)
    (folder / "known.txt").write_text(text)


def test_every_shipped_guard_is_made_by_its_name(tmp_path: Path) -> None:
    _bank(tmp_path, "sexual/minors", f"{pdq(PORTRAIT)[0].hex()},case-1\n")
    names = [name for name in guard_names() if name in {guard.name for guard in default_guards(tmp_path)}]
    assert {"nudity", "faces", "marks", "overlay", "hash-banks"} <= set(names)
    assert [get_guard(name, home=tmp_path).name for name in names] == names


def test_banks_are_those_of_the_state_folder(tmp_path: Path) -> None:
    assert "hash-banks" not in {guard.name for guard in default_guards(tmp_path)}
    with pytest.raises(UsageError, match="bank"):
        get_guard("hash-banks", home=tmp_path)
    _bank(tmp_path, "sexual/minors", f"{pdq(PORTRAIT)[0].hex()},case-1\n")
    (observation,) = run_guards([get_guard("hash-banks", home=tmp_path)], [_subject(PORTRAIT)])
    assert observation.facts["known_picture"] is True
    assert observation.scores["sexual/minors"] == 1.0


@pytest.mark.parametrize(("category", "text"), [("no-category", "00" * 32), ("sexual", "not a hash")])
def test_a_bank_that_is_none_is_an_error_and_not_an_empty_bank(
    tmp_path: Path, category: str, text: str
) -> None:
    _bank(tmp_path, category, text)
    with pytest.raises(UsageError):
        default_guards(tmp_path)


def test_a_clip_runs_where_its_record_lies_in_the_state_folder(tmp_path: Path) -> None:
    assert "zero-shot" not in {guard.name for guard in default_guards(tmp_path)}
    with pytest.raises(UsageError, match="CLIP"):
        get_guard("zero-shot", home=tmp_path)
    weights = tmp_path / "clip"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"not a model")
    record = Checkpoint.record(weights, model_id="clip", source="x", revision="1", licence="MIT")
    (tmp_path / "models").mkdir()
    record.write(tmp_path / "models" / "zero-shot.json")
    (guard,) = (guard for guard in default_guards(tmp_path) if guard.name == "zero-shot")
    assert {"violence", "violence/graphic", "hate", "self-harm"} <= set(guard.categories)
    # What cannot be loaded is no measurement.
    with pytest.raises(GuardUnavailable):
        guard.check([_subject(PORTRAIT)])


def test_words_in_a_picture_are_judged_as_a_prompt_is() -> None:
    lines = [
        ("a naked woman", Box(1, 2, 30, 9)),
        ("on a bed, nude", Box(1, 12, 30, 9)),
        ("Nike", Box(1, 40, 9, 9)),
    ]
    found = TextGuard(reader=lambda _: lines).check([_subject(PORTRAIT)])[0]
    scores = {finding.category: finding.score for finding in found}
    assert scores["sexual"] >= 0.5
    assert scores["trademark"] >= 0.5
    assert next(f for f in found if f.category == "trademark").evidence.box == Box(1, 40, 9, 9)
    assert found[0].facts["text_lines"] == 3
    silent = TextGuard(reader=lambda _: []).check([_subject(PORTRAIT)])[0]
    assert {finding.score for finding in silent} == {0.0}
    assert {finding.category for finding in silent} == set(scores)


def test_words_without_a_reader_are_unavailable_and_the_error_names_the_command() -> None:
    if find_spec("rapidocr_onnxruntime"):
        pytest.skip("the reader is installed")
    (observation,) = run_guards([get_guard("words")], [_subject(PORTRAIT)])
    assert "rapidocr_onnxruntime" in observation.failures[0].message
    assert "pip install" in observation.failures[0].message


def test_people_are_those_of_the_state_folder(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    faces = get_guard("faces", home=tmp_path)
    assert not (tmp_path / "likeness").exists()  # looking makes no registry
    assert run_guards([faces], [_subject(PORTRAIT)])[0].facts["registered_people"] == 0
    until = datetime.now(tz=UTC).date() + timedelta(days=9)
    LikenessRegistry(tmp_path / "likeness").enrol("someone", [PORTRAIT], basis="asked for it", until=until)
    (observation,) = run_guards([get_guard("faces", home=tmp_path)], [_subject(PORTRAIT)])
    assert observation.facts["registered_people"] == 1
    assert observation.facts["registered_consent"] is False


def test_an_edit_of_a_person_says_what_it_did() -> None:
    picture = PIL.Image.open(io.BytesIO(PORTRAIT)).convert("RGB")
    given = PIL.Image.new("RGB", (picture.width, 4 * picture.height), (20, 60, 160))
    given.paste(picture, (0, 0))
    made = given.copy()
    made.paste((224, 172, 140), (0, picture.height, given.width, given.height))
    mask = PIL.Image.new("L", given.size, 0)
    mask.paste(255, (0, picture.height, given.width, given.height))

    def png(image: PIL.Image.Image) -> bytes:
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    def asset(image: PIL.Image.Image) -> Asset:
        return Asset(data=png(image), media_type="image/png")

    request = Request("x", task=Task.INPAINT, init_image=asset(given), mask=asset(mask))
    (undressed,) = run_guards([get_guard("faces")], [_subject(png(made), request)])
    (same,) = run_guards([get_guard("faces")], [_subject(png(given), request)])
    assert undressed.facts["edit_undressing"] is True
    assert undressed.facts["edit_masked"] == pytest.approx(0.75, abs=0.02)
    assert same.facts["edit_undressing"] is False
    assert "edit_undressing" not in run_guards([get_guard("faces")], [_subject(png(made))])[0].facts


def test_guards_of_one_run_share_what_is_decoded_and_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from clearmark.guardrails import _media

    read: list[int] = []
    true = _media.read_rgb
    monkeypatch.setattr(_media, "read_rgb", lambda data: read.append(len(data)) or true(data))
    noise = PIL.Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    out = io.BytesIO()
    noise.save(out, "PNG")
    guards = [get_guard(name) for name in ("faces", "marks", "overlay", "nudity")]
    observations = run_guards(guards, [_subject(out.getvalue())] * 2)
    assert all(not observation.failures for observation in observations)
    assert len(read) == 1
    assert not _media._kept
