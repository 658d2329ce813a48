"""The copy benchmark: what it changes, whom it keeps apart, and how it counts."""

import json
import struct

import numpy as np
import PIL.Image
import pytest

from clearmark.benchmarks import _copies_pictures as pictures
from clearmark.benchmarks import _copies_report as report
from clearmark.benchmarks import copies
from clearmark.benchmarks._copies_pictures import PACKAGES, Picture, pool, split, synthetic
from clearmark.benchmarks._copies_transforms import BARS, HARD, TEMPLATE, TRANSFORMS
from clearmark.guardrails.memorization.calibration import EVIDENCE


def noise(seed, height=160, width=200):
    rng = np.random.default_rng(seed)
    part = PIL.Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return np.asarray(part.resize((width, height), PIL.Image.Resampling.BICUBIC))


def test_no_package_serves_two_purposes():
    names = [package for some in PACKAGES.values() for package in some]
    assert len(names) == len(set(names))
    assert set(PACKAGES) == {"train", "dev", "test"}


def test_there_are_enough_changes():
    assert len(TRANSFORMS) >= 24
    assert len(HARD) == 12
    assert {*HARD, *BARS, *TEMPLATE} <= set(TRANSFORMS)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "autoencoder"])
def test_every_change_keeps_a_part_and_says_where(name):
    x, other = noise(1), noise(2, 120, 140)
    before = x.copy()
    made, mask = TRANSFORMS[name](x, np.random.default_rng(3), other)
    assert made.dtype == np.uint8
    assert made.shape == (*mask.shape, 3)
    assert mask.dtype == bool
    assert mask.mean() > 0.05
    assert np.array_equal(x, before), "the original is not touched"
    assert made.shape != x.shape or not np.array_equal(made, x)
    again, _ = TRANSFORMS[name](x, np.random.default_rng(3), other)
    assert np.array_equal(made, again), "the same seed gives the same change"


@pytest.mark.parametrize(
    ("name", "share"), [("paste 50 %", 0.25), ("paste 30 %", 0.09), ("template 25 %", 0.75)]
)
def test_shares_are_what_the_names_say(name, share):
    _, mask = TRANSFORMS[name](noise(1), np.random.default_rng(3), noise(2))
    assert mask.mean() == pytest.approx(share, abs=0.02)


def test_pictures_inside_other_files_are_found(tmp_path):
    webp = b"RIFF" + struct.pack("<I", 12) + b"WEBPVP8 abcd"
    png = pictures.encode(noise(1))
    (tmp_path / "a.rcc").write_bytes(b"qres" + webp + b"junk" + png + b"tail")
    found = [read() for _, read in pictures._found(tmp_path)]
    assert found == [webp, png]


def test_a_pool_holds_no_near_copies_and_no_blanks(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "PACKAGES", {"dev": {"one": 10, "two": 2}})
    for package, seeds in (("one", (1, 2, 3)), ("two", (1, 4, 5, 6))):
        folder = tmp_path / "packages" / package
        folder.mkdir(parents=True)
        for seed in seeds:
            (folder / f"{seed}.png").write_bytes(pictures.encode(noise(seed)))
    one = tmp_path / "packages" / "one"
    (one / "flipped.png").write_bytes(pictures.encode(noise(1)[:, ::-1]))
    (one / "blank.png").write_bytes(pictures.encode(np.full((120, 120, 3), 200, np.uint8)))
    (one / "small.png").write_bytes(pictures.encode(noise(9, 40, 40)))
    (one / "broken.png").write_bytes(b"\x89PNG nothing")
    some = pool(tmp_path, "dev")
    assert sorted(picture.package for picture in some) == ["one"] * 3 + ["two"] * 2
    assert pool(tmp_path, "dev") == some


def test_who_is_indexed_is_never_a_negative(tmp_path):
    some = [Picture(tmp_path / f"{n}.png", f"p{n % 3}", str(n)) for n in range(90)]
    first, second = split(some, 0.4, 1)
    assert len(first) == 36
    assert not {p.path for p in first} & {p.path for p in second}
    assert {p.package for p in first} == {"p0", "p1", "p2"}


def test_drawn_look_alikes_differ_in_colour_alone():
    flags = [(one, twin) for kind, one, twin in synthetic(np.random.default_rng(0), 3) if kind == "flag"]
    for one, twin in flags:
        assert one.shape == twin.shape
        assert not np.array_equal(one, twin)


def row(key, right, score, transform="", package="p", reused=0.0):
    """A row whose likeness at the stage `x` is `score`; the cascade sees nothing."""
    best = [["other", score]] if not right else [["right", score]]
    best = [["item", reused], *best] if reused else best
    stage = {"best": best, "right": score, "rank": 0}
    found = [{"key": right or "other", "evidence": [score] * len(EVIDENCE), "kind": "part", "inliers": 0}]
    out = {"key": key, "package": package, "transform": transform, "right": right, "found": found}
    return out | {"stages": {"x": stage}, "ms": 1.0}


HEAD = {"indexed": ["right", "other"], "purpose": "test", "stages": ["x"], "missing": [], "descriptor": "d"}


def test_recall_counts_above_all_but_the_allowed_alarms(monkeypatch):
    monkeypatch.setattr(report, "reuse", lambda: {"re-used": ["item"]})
    negatives = [row(f"n{n}", "", 0.001 * n) for n in range(100)] + [row("re-used", "", 0.05, reused=0.99)]
    positives = [row(f"c{n}", "right", value, "blur") for n, value in enumerate((0.05, 0.098, 0.2, 0.3))]
    result = report.summary(HEAD, [*positives, *negatives], fpr=0.01)
    stage = result["stages"]["x"]
    # One alarm in 101 is allowed, so the threshold is the second highest; what is labelled is no alarm.
    assert stage["threshold"] == pytest.approx(0.098)
    assert stage["recall"] == {"blur": 0.5}
    assert stage["alarms"] == {"p": 1}
    assert result["labelled_reuse"] == 1
    assert "| blur |" in report.table(result)
    assert report.plot(result).startswith("<svg")


def test_parts_are_put_together_by_query(tmp_path):
    one, two = tmp_path / "own.jsonl", tmp_path / "peers.jsonl"
    own, peer = row("c", "right", 0.5, "blur"), row("c", "right", 0.7, "blur") | {"found": []}
    peer["stages"] = {"y": peer["stages"]["x"]}
    one.write_text("\n".join(map(json.dumps, (HEAD, own, row("only-own", "", 0.1)))))
    two.write_text("\n".join(map(json.dumps, (HEAD | {"stages": ["y"]}, peer))))
    head, *rows = report.merged([one, two])
    assert head["stages"] == ["x", "y"]
    assert [r["key"] for r in rows] == ["c"], "a query counts when every stage has seen it"
    assert rows[0]["found"] == own["found"]
    assert set(rows[0]["stages"]) == {"x", "y"}


def test_overlap():
    true = np.zeros((40, 60), bool)
    true[:20] = True
    assert report.overlap(np.kron(np.array([[1], [0]]), np.ones((10, 30))) > 0, true) == 1.0
    assert report.overlap(np.ones((20, 30), bool), true) == 0.5


def test_the_benchmark_runs_from_pictures_to_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "PACKAGES", {"dev": {"one": 40}})
    folder = tmp_path / "packages" / "one"
    folder.mkdir(parents=True)
    for seed in range(24):
        (folder / f"{seed}.png").write_bytes(pictures.encode(noise(seed)))
    monkeypatch.setattr(copies, "synthetic", lambda rng, number: synthetic(rng, 1))
    words = ["--data", str(tmp_path), "--purpose", "dev", "--queries", "2", "--part", "own", "--only", "flip"]
    words += ["--evidence", str(tmp_path / "e.jsonl"), "--negatives", "8"]
    copies.main([*words, "--review", str(tmp_path / "review")])
    first = capsys.readouterr().out
    assert "| flip |" in first
    assert list((tmp_path / "review").glob("*.png"))
    size = (tmp_path / "e.jsonl").stat().st_size
    copies.main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["stages"]["cascade"]["recall"]["flip"] == 1.0
    assert (tmp_path / "e.jsonl").stat().st_size == size, "what was measured is not measured again"
