"""What the documents about the reference model say is what is on record about it."""

from __future__ import annotations

import json

from clearmark.generation.reference.catalogue import WEIGHTS, entries
from clearmark.generation.reference.facts import facts, main
from clearmark.provenance.training_data import ModelFacts


def test_the_facts_are_those_on_record_and_fit_a_document():
    record = json.loads((WEIGHTS / "training.json").read_text())
    read = ModelFacts.from_dict(facts(recognition={"right_first": 0.5, "pairs": 200}))
    assert read.digest == entries()[0].digest
    assert f"{record['stages']['denoiser']['steps']:,} steps" in read.training
    assert ("right category first of ten", "50.0%", "200 pairs of prompt and seed") in read.metrics
    assert str(record["velocity_error"]["held_out"]) in [value for _, value, _ in read.metrics]


def test_a_run_that_went_on_names_the_runs_before_it():
    record = json.loads((WEIGHTS / "training.json").read_text())["stages"]["denoiser"]
    first = record
    while "went_on_from" in first:
        first = first["went_on_from"]
    words = facts()["training"].split("denoiser: ")[1]
    assert words.startswith(f"{first['steps']:,} steps")


def test_the_command_writes_json_and_prints_the_digest(tmp_path, capsys):
    main(["--out", str(tmp_path / "facts.json"), "--digest"])
    assert capsys.readouterr().out.strip() == entries()[0].digest
    assert json.loads((tmp_path / "facts.json").read_text())["name"] == "clearmark-reference"


def test_no_file_that_ships_names_a_folder_of_the_machine_that_made_it():
    for path in WEIGHTS.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path
