"""What the reference model was trained on: built from the register, checked before use, on by default."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization import CopyChecker, Index, IndexDamaged, Item
from clearmark.sdk import reference_index
from clearmark.sdk.home import Home
from clearmark.sdk.reference_index import build, clean_prompts, memorization_evidence, shipped_index


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("torch")
    from clearmark.generation.reference.data import Dataset
    from clearmark.generation.reference.data import Item as Drawn

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (110, 8, 8, 3), dtype=np.uint8)
    pictures = np.stack([np.asarray(PIL.Image.fromarray(s).resize((256, 256), 3)) for s in small])
    pictures[1] = 255
    items = tuple(
        Drawn(f"things/{n}.png", f"thing {n}", "", "", (f"thing {n}", "a thing"), flip=True, weight=1.0)
        for n in range(110)
    )
    return Dataset(pictures, items, {}, "test")


@pytest.fixture(scope="module")
def built(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "memorization"
    return folder, build(data, on_record(data), folder)


def on_record(data):
    return {
        item.path: Item(key=f"openclipart/{item.path}", sha256=f"{n:064x}", licence="CC0-1.0", creator="Ann")
        for n, item in enumerate(data.items)
    }


def test_every_picture_that_was_trained_on_is_in_it_and_no_other(data, built):
    folder, body = built
    held_out = data.held_out()
    assert 0 < held_out.sum() < len(held_out)
    assert (body["items"], body["blank"]) == ((~held_out).sum() - 1, 1)
    assert body["licences"] == {"CC0-1.0": body["items"]}
    with Index(folder / "index") as index:
        checker = CopyChecker(index)
        for place in np.flatnonzero(~held_out)[2:5]:
            smaller = np.asarray(PIL.Image.fromarray(data.pictures[place]).resize((200, 200)))
            check = checker.check_pixels(smaller)
            assert check.memorized
            assert check.matches[0].item.key == f"openclipart/things/{place}.png"
        for place in np.flatnonzero(held_out):
            assert f"openclipart/things/{place}.png" not in index
            assert not checker.check_pixels(data.pictures[place]).memorized


def test_a_picture_that_is_not_on_record_ends_the_build(data, tmp_path):
    known = on_record(data)
    trained = next(item for item, out in zip(data.items, data.held_out(), strict=True) if not out)
    del known[trained.path]
    with pytest.raises(UsageError, match=trained.path):
        build(data, known, tmp_path / "memorization")
    assert not (tmp_path / "memorization").exists()


def test_files_are_held_against_the_manifest(built, tmp_path):
    copy = tmp_path / "memorization"
    shutil.copytree(built[0], copy)
    assert shipped_index(copy) == copy / "index"
    assert shipped_index(tmp_path / "none") is None
    (segment,) = copy.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(data)
    with pytest.raises(IndexDamaged):
        shipped_index(copy)
    segment.unlink()
    with pytest.raises(IndexDamaged):
        shipped_index(copy)
    (copy / "manifest.json").write_text("[]")
    with pytest.raises(IndexDamaged):
        shipped_index(copy)


def test_it_counts_for_the_reference_model_until_there_is_another(built, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_index, "FOLDER", built[0])
    home = Home(tmp_path)
    assert memorization_evidence(home, "reference") == (built[0] / "index", [])
    assert memorization_evidence(home, "diffusers:x/y") == (None, [])
    (tmp_path / "guidance.json").write_text("{}")
    Index.create(home.training_index, descriptor="t").close()
    assert memorization_evidence(home, "reference") == (home.training_index, [home.guidance])


def test_the_calibration_that_ships_is_that_of_the_model_that_ships():
    """Enough clean prompts for one alarm in a hundred with both signs, and none among what people ask for."""
    pytest.importorskip("diffusers")
    from clearmark.generation import ReferenceGenerator
    from clearmark.guardrails.memorization.generation import read_calibrations

    path = reference_index.shipped_guidance()
    assert path is not None
    known = read_calibrations(path)[ReferenceGenerator().model.digest]
    assert (known.target, known.supported) == (0.01, True)
    assert known.weigh(known.clean[0], 0.0) <= known.target
    assert known.weigh(2 * known.clean[-1], known.drift[-1]) <= known.target
    assert known.weigh(known.median, known.drift[3]) > known.target


def test_a_removal_takes_items_out_of_a_copy_in_the_state_folder(data, built, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from clearmark.sdk import training_data

    monkeypatch.setattr(reference_index, "FOLDER", built[0])
    noted = []
    monkeypatch.setattr(training_data, "_record", lambda _home, kind, body: noted.append((kind, body)))
    home, place = Home(tmp_path), int(np.flatnonzero(~data.held_out())[4])
    row = {"dataset": "openclipart", "key": f"things/{place}.png", "sha256": f"{place:064x}"}
    proof = SimpleNamespace(id="r1", body={"items": [row]})
    done = training_data.erase_from_index(home, proof)
    assert done.items == 1
    assert noted[0][0] == "index.erased"
    with Index(home.training_index) as left, Index(built[0] / "index") as before:
        assert len(left) == len(before) - 1
        assert f"openclipart/things/{place}.png" not in left
    assert memorization_evidence(home, "reference")[0] == home.training_index
    assert training_data.erase_from_index(home, proof) is None


def test_clean_prompts_belong_to_no_picture_that_was_trained_on(data):
    found = clean_prompts(data, 100)
    held_out = np.flatnonzero(data.held_out())
    assert found == sorted(f"thing {n}" for n in held_out)
    assert clean_prompts(data, 1) == found[:1]


def test_the_facts_name_it(built, tmp_path):
    from clearmark.generation.reference.facts import _index

    row = _index(built[0] / "manifest.json")
    assert (
        row["digest of the memorization index"]
        == json.loads((built[0] / "manifest.json").read_text(encoding="utf-8"))["digest"]
    )
    assert _index(tmp_path / "nothing.json") == {}
