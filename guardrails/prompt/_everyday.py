"""Harmless prompts of our own, to fit on: everyday scenes in words that the public sets only know from harm.

Kisses, knives, uniforms, origins and faiths stand nearly always in harmful rows; a model that saw no others
takes the word for the deed.
"""

from __future__ import annotations

from pathlib import Path

from clearmark.guardrails.prompt._rows import Row

__all__ = ["everyday_rows"]


def everyday_rows() -> list[Row]:
    """Return the prompts of `everyday.txt`, always the same."""
    sections: dict[str, list[str]] = {}
    section: list[str] = []
    text = (Path(__file__).parent / "everyday.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.append(line)
    texts = [f"{who} {does}" for who in sections["who"] for does in sections["does"]] + sections["alone"]
    return [
        Row(f"everyday{at}", "everyday", unsafe=False, categories=frozenset(), lang="en", text=one)
        for at, one in enumerate(texts)
    ]
