"""Builds over shards: whoever builds, the answers are the same, and a broken file fails nothing."""

import io
import os
import signal
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clearmark.core.errors import ExtraMissing
from clearmark.guardrails.memorization import Entry, Index, Item, building, default_descriptor
from clearmark.guardrails.memorization.building import LocalRunner, RayRunner, build_index, shards_of


@pytest.fixture(autouse=True)
def _workers_find_this_module(monkeypatch):
    """Workers that are spawned get the path of their parent; what they run is in this file."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))


@pytest.fixture
def pictures(tmp_path):
    rows = []
    for n in range(7):
        rng = np.random.default_rng(n)
        small = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        out = io.BytesIO()
        small.resize((96, 96), PIL.Image.Resampling.BICUBIC).save(out, "PNG")
        path = tmp_path / f"{n}.png"
        path.write_bytes(out.getvalue() if n != 3 else b"\x89PNG\r\n\x1a\nbroken")
        rows.append((Item(key=f"k{n}", sha256="", licence="CC0-1.0"), str(path)))
    return [*rows, (Item(key="gone", sha256=""), str(tmp_path / "missing.png"))]


def answers(path):
    with Index(path) as index:
        rows = sorted((e.item.key, e.pdq, e.codes.tobytes(), e.picture) for e in index.entries())
        ids = [index.item(hit.id).key for hit in index.near_hashes(np.zeros((1, 32), np.uint8), 5)]
    return rows, ids


def test_processes_build_what_one_builds(pictures, tmp_path):
    ref = default_descriptor().ref
    shards = shards_of(pictures, size=3)
    one = build_index(tmp_path / "one", shards, descriptor=ref)
    two = build_index(tmp_path / "two", shards, descriptor=ref, runner=LocalRunner(2))
    assert (one.added, one.unread) == (two.added, two.unread) == (6, 2)
    assert answers(tmp_path / "one") == answers(tmp_path / "two")
    assert not (tmp_path / "one.shards").exists()


def test_a_build_that_was_cut_off_goes_on(pictures, tmp_path):
    measured = []

    def cut_off(shard, folder):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(shard.name)
        return building.measure_shard(shard, folder)

    shards = shards_of(pictures, size=3)
    ref = default_descriptor().ref
    with pytest.raises(KeyboardInterrupt):
        build_index(tmp_path / "i", shards, descriptor=ref, work=cut_off)
    again = []

    def rest(shard, folder):
        done = (tmp_path / "i.shards" / shard.name / "done.json").exists()
        again.append((shard.name, done))
        return building.measure_shard(shard, folder)

    built = build_index(tmp_path / "i", shards, descriptor=ref, work=rest)
    assert [done for _, done in again] == [True, True, False]
    assert (built.added, built.unread) == (6, 2)
    build_index(tmp_path / "whole", shards, descriptor=ref)
    assert answers(tmp_path / "i") == answers(tmp_path / "whole")


def dies_at_four(item, _path):
    if item.key == "k4":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.key == "k5":
        raise RuntimeError("a decoder's own kind of error")
    return Entry(item, bytes(32), np.zeros((1, 64), np.uint8))


def deadly(shard, folder):
    return building.write_shard(shard, folder, descriptor="test@sha256:00", entry=dies_at_four)


def test_a_file_that_kills_its_workers_is_passed_over(pictures, tmp_path):
    shards = shards_of(pictures, size=3)
    built = build_index(
        tmp_path / "i", shards, descriptor="test@sha256:00", runner=LocalRunner(2), work=deadly
    )
    assert (built.added, built.unread) == (6, 2)
    with Index(tmp_path / "i") as index:
        assert "k4" not in index
        assert "k3" in index


def deadly_beside_a_long_one(shard, folder):
    """The second shard dies at once, twice; the first is at its only item all the while."""
    if shard.items[0].key != "k0":
        return deadly(shard, folder)

    def slow(item, _path):
        gone = time.monotonic() + 60
        while not list(Path(folder).glob("*/done.json")) and time.monotonic() < gone:
            time.sleep(0.01)
        return Entry(item, bytes(32), np.zeros((1, 64), np.uint8))

    return building.write_shard(shard, folder, descriptor="test@sha256:00", entry=slow)


def test_what_another_worker_was_at_is_not_passed_over(pictures, tmp_path):
    shards = [*shards_of(pictures[:1]), *shards_of(pictures[4:5])]
    built = build_index(
        tmp_path / "i",
        shards,
        descriptor="test@sha256:00",
        runner=LocalRunner(2),
        work=deadly_beside_a_long_one,
    )
    assert (built.added, built.unread) == (1, 1)
    with Index(tmp_path / "i") as index:
        assert "k0" in index


def always_deadly(_shard, _folder):
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_for_good_end_the_build(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_BREAKS", 2)
    shards = shards_of(pictures, size=8)
    with pytest.raises(building.RunnerFailed):
        build_index(tmp_path / "i", shards, descriptor="t", runner=LocalRunner(2), work=always_deadly)


def test_without_ray_the_command_to_install_it_is_named():
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(ExtraMissing, match="ray") as caught:
            RayRunner()
        assert "clearmark[ray]" in str(caught.value.hint)


def fails_on_a_worker(_shard, _folder):
    raise RuntimeError("no such thing")


def test_a_ray_cluster_builds_what_one_builds(pictures, tmp_path):
    pytest.importorskip("ray", reason='pip install "clearmark[ray]"')
    from ray import cluster_utils

    from clearmark.benchmarks.building import _cluster

    cluster = _cluster(cluster_utils)
    try:
        shards = shards_of(pictures, size=3)
        ref = default_descriptor().ref
        build_index(tmp_path / "one", shards, descriptor=ref)
        built = build_index(
            tmp_path / "two", shards, descriptor=ref, runner=RayRunner(cluster.address, cpus=0.5)
        )
        assert (built.added, built.unread) == (6, 2)
        assert answers(tmp_path / "one") == answers(tmp_path / "two")
        with pytest.raises(building.RunnerFailed):
            build_index(
                tmp_path / "three", shards[:1], descriptor=ref, runner=RayRunner(), work=fails_on_a_worker
            )
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
