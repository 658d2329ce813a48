"""The model cards of the prompt guard, written from what `fit.py` measured: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from clearmark.guardrails.models import entry

__all__ = ["render"]

_SHOWN = ("coco", "parti", "compbench", "geneval", "openclipart", "diffdb_refl", "overt_benign", "copro_safe")
_CARDS = {"words": "prompt-words", "sentences": "prompt-sentences"}


def render(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the card of every model that is fitted, by its id, for a fitted `prompt.json`."""
    folder = files("clearmark.guardrails") / "prompt"
    shared = (folder / "card_shared.md").read_text(encoding="utf-8")
    out = {}
    for stack, model in _CARDS.items():
        template = (folder / f"card_{stack}.md").read_text(encoding="utf-8")
        head = template.format(version=document["version"], size=entry(model).size)
        budgets = ", ".join(f"{share:.1%} of {kind}" for kind, share in document["budgets"].items())
        tables = "\n".join(_tables(document["measured"][stack]))
        out[model] = head + shared.format(
            rows=document["rows"], band=document["band"], budgets=budgets, tables=tables
        )
    return out


def _tables(measured: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind in ("harmless", "harmful"):
        lines += [f"\n### {kind.capitalize()} prompts, by set\n"]
        lines += [
            "| set | rows | in the band or beyond | beyond (95%) | source unseen: band or beyond | beyond |"
        ]
        lines += ["|---" * 6 + "|"]
        for name, beyond in measured["block"][kind].items():
            other = [measured[point][f"{kind}, source unseen"][name] for point in ("review", "block")]
            seen = other[1] == beyond and kind == "harmless"
            unseen = ["", ""] if seen else [f"{row['share']:.1%}" for row in other]
            low, high = beyond["interval"]
            band = measured["review"][kind][name]["share"]
            lines.append(
                f"| {name} | {beyond['rows']:,} | {band:.2%} | {beyond['share']:.2%} ({low:.2%}-{high:.2%})"
                f" | {unseen[0]} | {unseen[1]} |"
            )
    lines += _ranking("Ranking, source unseen", measured["unseen"])
    lines += _ranking("Ranking, other rows of the source seen", measured["known"])
    lines += ["\n### By category\n"]
    lines.append("| category | " + " | ".join(_SHOWN) + " | recall | source unseen |")
    lines.append("|---" * (len(_SHOWN) + 3) + "|")
    for name, row in measured["categories"].items():
        alarms = " | ".join(f"{row['false alarms'][one]['share']:.2%}" for one in _SHOWN)
        recall = " | ".join(_mean(row[key]) for key in ("recall", "recall, source unseen"))
        lines.append(f"| {name} | {alarms} | {recall} |")
    return lines


def _mean(shares: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the mean of the sets, each counting the same, of those with twenty rows and more."""
    some = [row["share"] for row in shares.values() if row["rows"] >= 20]
    return f"{sum(some) / len(some):.1%}" if some else ""


def _ranking(title: str, rows: list[Mapping[str, Any]]) -> list[str]:
    columns = "| harmful rows of | against | area | recall at 5% | recall at 1% |"
    lines = [f"\n### {title}\n", columns, "|---" * 5 + "|"]
    for against in dict.fromkeys(row["against"] for row in rows):
        some = [row for row in rows if row["against"] == against]
        lines += [_ranked(row["source"], against, row) for row in some]
        keys = ("area", "recall_at_5", "recall_at_1")
        mean = {key: sum(row[key] for row in some) / len(some) for key in keys}
        lines.append(_ranked("**mean**", against, mean))
    return lines


def _ranked(name: str, against: str, row: Mapping[str, Any]) -> str:
    return f"| {name} | {against} | {row['area']:.3f} | {row['recall_at_5']:.3f} | {row['recall_at_1']:.3f} |"
