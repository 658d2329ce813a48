"""Hostile files: an answer for each, within bounds, and never a good word."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

from clearmark.provenance import Verifier, conclude

sys.path.insert(0, str(Path(__file__).parents[2]))
from assets.hostile_provenance import CORPUS, marked_pictures, mutations


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_file_gets_an_answer(name):
    found = Verifier(extract=lambda pixels: ()).verify([CORPUS[name]()])[0]
    assert found.exit_code in {2, 4, 5}
    assert found.credentials.state in {"absent", "invalid"}
    assert conclude(found)
    assert len(json.dumps(found.to_dict())) < 100_000


def test_mutations_never_turn_into_another_signer():
    root, sources = marked_pictures()
    verifier = Verifier(root, extract=lambda pixels: ())
    originals = {verifier.verify([data])[0].credentials.ledger["mark_id"] for data in sources}
    for data in itertools.islice(mutations(sources, seed=7), 250):
        found = verifier.verify([data])[0]
        assert found.exit_code in {0, 2, 4, 5}
        if found.credentials.state == "trusted":
            # Only what nobody signs, such as padding, was hit: the statements are the old ones.
            assert found.credentials.mark_id in originals
            assert found.credentials.signer == "clearmark development signer"
