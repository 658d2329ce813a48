"""A removal from the register reaches the index of the state folder, every file of it, and the ledger."""

import json

import numpy as np
from typer.testing import CliRunner

from clearmark.guardrails.memorization import Entry, Index, Item
from clearmark.provenance.training_data import RemovalProof
from clearmark.sdk.cli._app import app
from clearmark.sdk.home import Home
from clearmark.sdk.training_data import erase_from_index


def entry(number):
    rng = np.random.default_rng(number)
    item = Item(key=f"cats@1/{number}.png", sha256=f"{number:064x}")
    return Entry(
        item, rng.bytes(32), rng.integers(0, 256, (1, 64), dtype=np.uint8), b"picture " + rng.bytes(30)
    )


def proof(*numbers):
    items = [{"dataset": "cats@1", "key": f"{n}.png", "sha256": f"{n:064x}"} for n in numbers]
    return RemovalProof(body={"id": "removal-1", "items": items, "versions": []}, signature="")


def test_an_erasure_reaches_index_and_ledger(tmp_path):
    home = Home(tmp_path / "home").ensure()
    assert erase_from_index(home, proof(1)) is None  # no index, nothing to do
    with Index.create(home.training_index, descriptor="t@sha256:00") as index:
        index.add(entry(n) for n in range(5))
    assert erase_from_index(home, proof(77)) is None
    done = erase_from_index(home, proof(1, 3, 77))
    assert (done.items, done.rewritten) == (2, 1)
    held = b"".join(path.read_bytes() for path in home.training_index.rglob("*") if path.is_file())
    for number in range(5):
        made = entry(number)
        for part in (made.pdq, made.codes.tobytes(), made.picture, made.item.key.encode()):
            assert (part in held) is (number not in {1, 3})
    shown = CliRunner().invoke(app, ["ledger", "show", "--home", str(home.path), "--json"])
    (event,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert event["kind"] == "index.erased"
    assert event["body"]["removal"] == "removal-1"
    assert event["body"]["before"] == done.before != event["body"]["after"] == done.after
