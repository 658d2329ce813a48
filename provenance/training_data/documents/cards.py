"""Cards in Markdown: a dataset card (with the front matter of the Hugging Face hub) and a model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clearmark.provenance.training_data.documents.facts import (
    DatasetFacts,
    ModelFacts,
    masked,
    moment,
    sentences,
)

__all__ = ["dataset_card", "model_card"]


def dataset_card(facts: DatasetFacts) -> str:
    """Return the dataset card of a version. Every figure in it is counted from the register."""
    summary, audit, said = facts.summary, facts.audit, sentences(facts)
    dataset, version = summary.dataset, summary.version
    front = {
        "pretty_name": dataset.name,
        "license": "other" if len(facts.licences) != 1 else facts.licences[0].lower(),
        "size_categories": [_size_category(version.read)],
        "task_categories": ["text-to-image"],
    }
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        "---",
        f"# {_text(dataset.name)} {_text(version.label)}",
        "",
        _text(dataset.description or said["collection"]),
        "",
        f"Digest of the version: `{version.digest}`. Written {moment(facts.created_us)} by {facts.software}.",
        "",
        "## Where it comes from",
        said["collection"],
        "",
        *_table(("licence", "items"), summary.licences.items()),
        f"## Who made it ({summary.creators_total:,} creators named)",
        *_table(("creator", "items"), summary.creators.items()),
        "## What it shows",
        *_table(
            ("category", "items"), ((name or "(none)", count) for name, count in summary.categories.items())
        ),
        "## What may be trained on",
        f"Data policy `{_text(audit.policy.name)}` {_text(audit.policy.version)}, `{audit.policy.digest}`. "
        f"{said['screening']}",
        "",
        *_table(("rule that decided", "items"), audit.rules.most_common()),
        "## Copies",
        said["duplicates"],
        "",
        "## Opt-outs and consent",
        f"{said['opt_outs']} {said['personal']}",
        "",
        *_table(("signal", "times"), summary.signals.items()),
        "## Limits",
        said["limits"],
        "",
    ]
    return "\n".join(lines)


def model_card(facts: DatasetFacts, model: ModelFacts) -> str:
    """Return the model card of a model that was trained on a version."""
    said = sentences(facts)
    front = {
        "license": model.licence.lower(),
        "pipeline_tag": model.task,
        "library_name": "diffusers",
        "datasets": [facts.summary.dataset.name],
    }
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        "---",
        f"# {_text(model.name)} {_text(model.version)}",
        "",
        _text(model.description or model.kind),
        "",
        f"Weights: `{model.digest}`. Licence: {_text(model.licence)}.",
        "",
        "## Training data",
        f"{_text(facts.name)}, `{facts.summary.version.digest}`. {said['collection']} {said['screening']} "
        f"{said['duplicates']} {said['opt_outs']}",
        "",
        *(["## Training", _text(model.training), ""] if model.training else []),
        *(_table(("setting", "value"), model.parameters.items()) if model.parameters else []),
        *(["## Figures", *_table(("what", "value", "on"), model.metrics)] if model.metrics else []),
        *(["## Uses", *_bullets(model.uses)] if model.uses else []),
        *(["## What it cannot do", *_bullets(model.limitations)] if model.limitations else []),
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    cells = [[_text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row] for row in rows]
    if not cells:
        return [""]
    return [
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in cells),
        "",
    ]


def _bullets(items: Iterable[str]) -> list[str]:
    return [*(f"- {_text(item)}" for item in items), ""]


def _text(value: str) -> str:
    """Escape what strangers wrote: it may neither break a table nor become markup or a link."""
    line = masked(" ".join(value.split()))
    for char in "\\`*_[]<>|":
        line = line.replace(char, f"\\{char}" if char not in "<>" else {"<": "&lt;", ">": "&gt;"}[char])
    return line


def _size_category(count: int) -> str:
    steps: Mapping[str, int] = {
        "n<1K": 1_000, "1K<n<10K": 10_000, "10K<n<100K": 100_000, "100K<n<1M": 1_000_000,
        "1M<n<10M": 10_000_000, "10M<n<100M": 100_000_000, "100M<n<1B": 1_000_000_000,
    }  # fmt: skip
    return next((name for name, limit in steps.items() if count < limit), "n>1B")
