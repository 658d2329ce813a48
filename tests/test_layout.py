"""One import name from root folders: the links, the guards against bare names, and what the wheel holds."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("audits", "benchmarks", "core", "generation", "guardrails", "policies", "provenance", "sdk")
SHIPPED = {".py", ".yaml", ".json", ".txt", ".npz", ".onnx", ".safetensors", ".md", ".ttf"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_linked_relatively(room: str) -> None:
    link = ROOT / "src" / "clearmark" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../../{room}"
    assert link.resolve() == ROOT / room


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_refuses_its_bare_name(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, room, raising=False)
    with pytest.raises(ImportError, match=f"import clearmark.{room}"):
        importlib.import_module(room)


def test_ruff_bans_every_bare_name() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(ROOMS)


def test_the_wheel_holds_every_room_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        source, target = ROOT / name, tree / name
        if not source.is_symlink() and not source.exists():
            continue  # removed, and not committed yet
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tree],
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    tops = {name.split("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"clearmark"}
    wanted = {
        f"clearmark/{path.relative_to(tree)}"
        for room in ROOMS
        for path in (tree / room).rglob("*")
        if path.is_file() and path.suffix in SHIPPED
    }
    assert wanted - held == set()
    assert "clearmark/py.typed" in held
