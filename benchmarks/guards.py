"""How well and how fast the guards measure: `clearmark bench guards`.

Without data it runs on the examples of the category cards that ship, each hidden in twenty ways. With
`--data` (labelled prompts as JSON lines) it also tells recall and false alarms by source. Peers that are
installed run on the same texts. The figures by source are only worth something on rows that the shipped model
was not fitted on; what it does on sources that were left out stands in its card.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from clearmark.benchmarks._guards_pictures import measure_pictures, print_pictures
from clearmark.core import Asset, Request, Stage, Subject
from clearmark.guardrails import get_guard
from clearmark.guardrails.prompt import PromptGuard
from clearmark.guardrails.prompt.attacks import ATTACKS
from clearmark.guardrails.prompt.evaluation import (
    Row,
    by_source,
    changed,
    interval,
    measure,
    read_rows,
    recall_at,
)

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command."""
    return run(sys.argv[1:] if arguments is None else arguments)


def run(argv: Sequence[str]) -> int:
    """Measure, print tables (or one JSON document with `--json`), and return the exit code."""
    parser = argparse.ArgumentParser(prog="clearmark bench guards", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--data", type=Path, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument(
        "--limit", type=int, default=0, help="rows of the data to use, evenly spread; 0 for all"
    )
    parser.add_argument(
        "--part",
        choices=["all", "prompts", "pictures", "data"],
        default="all",
        help="what to measure; `data` is the rows of --data alone",
    )
    parser.add_argument("--pictures", type=Path, help="a folder of pictures to time the guards on")
    parser.add_argument("--batch", type=int, default=8, help="pictures of one batch")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(list(argv))
    document: dict[str, Any] = {
        "bench": "guards",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    if options.part == "data" and not options.data:
        parser.error("--part data needs --data")
    if options.part in {"all", "prompts"}:
        document |= {"speed": _speed(), "hidden": _hidden(), "peers": _peers()}
    if options.part in {"all", "pictures"}:
        document["pictures"] = measure_pictures(options.pictures, options.batch, peers=options.peers)
    if options.data:
        document |= _sources(list(read_rows(options.data)), options.limit)
    if options.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        if "speed" in document:
            _print(document)
        if "sources" in document:
            _print_sources(document)
        if "pictures" in document:
            print_pictures(document["pictures"])
    return 0


def _cards() -> tuple[list[Row], list[Row]]:
    """Return the harmful and the harmless examples of the cards."""
    text = (files("clearmark.guardrails") / "prompt" / "cards.json").read_text(encoding="utf-8")
    cards = json.loads(text)
    harmful = [
        Row(
            f"{category}/{n}", "cards", unsafe=True, categories=frozenset([category]), lang="en", text=example
        )
        for category, card in cards.items()
        for n, example in enumerate(card["should"])
        if example.isascii()
    ]
    harmless = [
        Row(f"{category}/-{n}", "cards", unsafe=False, categories=frozenset(), lang="en", text=example)
        for category, card in cards.items()
        for n, example in enumerate(card["should_not"])
    ]
    return harmful, harmless


def _hidden() -> list[dict[str, Any]]:
    """Return recall and false alarms for the examples as they are and under every attack."""
    guard = get_guard("prompt")
    harmful, harmless = _cards()
    out = []
    changes: dict[str, Callable[[str], str] | None] = {"as written": None, **ATTACKS}
    for name, change in changes.items():
        caught = sum(bool(one.tripped & one.row.categories) for one in measure(guard, harmful, change=change))
        alarms = sum(bool(one.tripped) for one in measure(guard, harmless, change=change))
        out.append(
            {
                "attack": name,
                "recall": caught / len(harmful),
                "recall_interval": interval(caught, len(harmful)),
                "false_alarms": alarms / len(harmless),
                "harmful": len(harmful),
                "harmless": len(harmless),
            }
        )
    return out


def _speed() -> list[dict[str, Any]]:
    nudity = get_guard("nudity")
    texts = [row.text for rows in _cards() for row in rows]
    short = [Subject(stage=Stage.PROMPT, request=Request(text)) for text in texts]
    words = " ".join(texts)
    long = Subject(stage=Stage.PROMPT, request=Request((words * (20_000 // len(words) + 1))[:20_000]))
    picture = Subject(stage=Stage.OUTPUT, request=Request("x"), asset=_picture())
    cases: list[tuple[str, Callable[[], object], int, int]] = []
    guards = _prompt_guards()
    for name, prompt in guards.items():
        cases.append((f"{name}, one prompt", partial(_each, prompt, short), len(short), 5))
        cases.append((f"{name}, 20,000 characters", partial(prompt.check, [long]), 1, 7))
    cases.append(("nudity guard, one 512 x 512 picture", lambda: nudity.check([picture]), 1, 9))
    cases.append(("nudity guard, batch of 8, each", lambda: nudity.check([picture] * 8), 8, 5))
    out = []
    for name, call, count, repeats in cases:
        call()
        spent = sorted(_seconds(call) / count * 1000 for _ in range(repeats))
        out.append({"case": name, "ms": spent[len(spent) // 2], "best_ms": spent[0]})
    for name, prompt in guards.items():
        # The least of three runs of each prompt: what else the machine does is not the guard's time.
        each = sorted(
            min(_seconds(partial(prompt.check, [subject])) for _ in range(3)) * 1000 for subject in short
        )
        out.append({"case": f"{name}, one prompt, p95", "ms": quantiles(each, n=20)[-1], "best_ms": each[0]})
    return out


def _prompt_guards() -> dict[str, PromptGuard]:
    """Return the prompt guard by words alone and, where it is installed, with sentence embeddings."""
    guards = {"prompt guard, words": PromptGuard(sentences=False)}
    if (whole := PromptGuard()).sentences:
        guards["prompt guard, sentences"] = whole
    return guards


def _each(guard: PromptGuard, subjects: Sequence[Subject]) -> None:
    for subject in subjects:
        guard.check([subject])


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _picture() -> Asset:
    import numpy as np
    import PIL.Image

    pixels = np.random.default_rng(7).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).resize((512, 512), PIL.Image.Resampling.BICUBIC).save(out, "PNG")
    return Asset(data=out.getvalue(), media_type="image/png", width=512, height=512)


def _peers() -> list[dict[str, Any]]:
    """Return what installed word filters make of the same examples; one row each, told apart if absent."""
    harmful, harmless = _cards()
    out: list[dict[str, Any]] = []
    for package, module, check in (
        ("better-profanity", "better_profanity", lambda m: m.profanity.contains_profanity),
        ("alt-profanity-check", "profanity_check", lambda m: lambda text: bool(m.predict([text])[0])),
    ):
        if find_spec(module) is None:
            out.append({"peer": package, "installed": False})
            continue
        flags = check(import_module(module))
        caught = sum(flags(row.text) for row in harmful)
        alarms = sum(flags(row.text) for row in harmless)
        each = [
            min(_seconds(partial(flags, row.text)) for _ in range(3)) * 1000 for row in (*harmful, *harmless)
        ]
        out.append(
            {
                "peer": package,
                "installed": True,
                "recall": caught / len(harmful),
                "false_alarms": alarms / len(harmless),
                "ms": sum(each) / len(each),
                "p95_ms": quantiles(each, n=20)[-1],
            }
        )
    return out


def _sources(rows: Sequence[Row], limit: int) -> dict[str, Any]:
    chosen = list(rows[:: max(1, len(rows) // limit)]) if limit else list(rows)
    measured = measure(get_guard("prompt"), [row for row in chosen if row.lang == "en"])
    harmful = [one.worst for one in measured if one.row.unsafe]
    harmless = [one.worst for one in measured if not one.row.unsafe]
    return {
        "sources": [source.to_dict() for source in by_source(measured)],
        "normalised": [
            {"set": name, "changed": some, "harmless": count}
            for name, (some, count) in sorted(changed([one.row for one in measured]).items())
        ],
        **{
            f"recall_at_{share}_percent": recall_at(harmful, harmless, share / 100)
            for share in (1, 5)
            if harmful and harmless
        },
    }


def _print(document: dict[str, Any]) -> None:
    console = Console()
    speed = Table("case", "median ms", "best ms", title="Speed (processor time)")
    for row in document["speed"]:
        speed.add_row(row["case"], f"{row['ms']:.2f}", f"{row['best_ms']:.2f}")
    console.print(speed)
    hidden = Table("examples of the cards", "recall", "95% interval", "false alarms", title="Hidden prompts")
    for row in document["hidden"]:
        low, high = row["recall_interval"]
        hidden.add_row(
            row["attack"], f"{row['recall']:.0%}", f"{low:.0%}-{high:.0%}", f"{row['false_alarms']:.0%}"
        )
    console.print(hidden)
    peers = Table("peer", "recall", "false alarms", "ms", "p95 ms", title="Peers on the examples as written")
    for row in document["peers"]:
        if row["installed"]:
            peers.add_row(
                row["peer"],
                f"{row['recall']:.0%}",
                f"{row['false_alarms']:.0%}",
                f"{row['ms']:.2f}",
                f"{row['p95_ms']:.2f}",
            )
        else:
            peers.add_row(row["peer"], "not installed", "", "", "")
    console.print(peers)


def _print_sources(document: dict[str, Any]) -> None:
    console = Console()
    table = Table("source", "harmful", "harmless", "area", "recall", "false alarms", title="By source")
    for row in document["sources"]:
        table.add_row(
            row["name"],
            f"{row['harmful']:,}",
            f"{row['harmless']:,}",
            *("-" if row[key] is None else f"{row[key]:.3f}" for key in ("area", "recall", "false_alarms")),
        )
    console.print(table)
    plain = Table("harmless rows of", "changed", "of", "share", title="Changed by the normalisation")
    for row in document["normalised"]:
        share = row["changed"] / row["harmless"]
        plain.add_row(row["set"], f"{row['changed']:,}", f"{row['harmless']:,}", f"{share:.2%}")
    console.print(plain)
    for share in (1, 5):
        if (found := document.get(f"recall_at_{share}_percent")) is not None:
            console.print(f"recall at {share}% false alarms: {found:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
