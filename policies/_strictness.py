"""Whether one policy lets through more than another, item by item.

Conditions are not compared by what they mean: another condition counts as looser, since it might be. Words,
codes and positions are free. A shorter retention counts as looser, because a law may ask for the longer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clearmark.core import Stage
from clearmark.policies._conditions import categories
from clearmark.policies._content import Content
from clearmark.policies.rules import MINORS, Rule, Threshold

__all__ = ["Loosening", "loosenings", "period_days", "strictest_on_error"]

_ON_ERROR = ("unsafe_allow", "review", "block")
_MODES = ("off", "shadow", "enforce")


@dataclass(frozen=True, kw_only=True)
class Loosening:
    """One item by which more is let through: its path in a policy file, and what changed, in words.

    `minors` says that it concerns `sexual/minors`, which no override covers.
    """

    path: str
    message: str
    minors: bool = False


def strictest_on_error(words: list[str]) -> str:
    """Return the strictest of `on_error` words."""
    return max(words, key=_ON_ERROR.index)


def period_days(period: str) -> int:
    """Return the days of a period such as P6M, months as 30 and years as 365 days, for comparison only."""
    return int(period[1:-1]) * {"D": 1, "M": 30, "Y": 365}[period[-1]]


def loosenings(before: Content, after: Content) -> Iterator[Loosening]:
    """Return every item by which `after` lets through more than `before`."""
    yield from _stages(before, after)
    yield from _rules(before, after)
    if _ON_ERROR.index(after.on_error) < _ON_ERROR.index(before.on_error):
        yield Loosening(path="on_error", message=f"{before.on_error} becomes {after.on_error}")
    yield from _marking(before, after)
    if after.regenerate_attempts > before.regenerate_attempts:
        message = f"{before.regenerate_attempts} attempts become {after.regenerate_attempts}"
        yield Loosening(path="regenerate.attempts", message=message)
    for kind, period in before.retention.items():
        now = after.retention.get(kind, after.retention["default"])
        if period_days(now) < period_days(period):
            yield Loosening(path=f"retention.{kind}", message=f"{period} becomes {now}")


def _stages(before: Content, after: Content) -> Iterator[Loosening]:
    for stage in Stage:
        # a stage that was not covered blocked everything
        if stage in after.covered and stage not in before.covered:
            message = "the stage was not covered, so everything was blocked"
            yield Loosening(path=f"thresholds.{stage.value}", message=message)
        gone = set(before.requires[stage]) - set(after.requires[stage])
        if gone:
            message = f"no longer required: {', '.join(sorted(gone))}"
            yield Loosening(path=f"requires.{stage.value}", message=message, minors=MINORS in gone)
        for category, old in before.thresholds[stage].items():
            new = after.thresholds[stage].get(category)
            change = "the threshold is gone" if new is None else _milder(old, new)
            if change:
                path = f"thresholds.{stage.value}.{category}"
                yield Loosening(path=path, message=change, minors=category == MINORS)


def _milder(old: Threshold, new: Threshold) -> str:
    """Compare at every score where either changes; between those both are constant."""
    for score in sorted({floor for _, floor in (*old.bands, *new.bands)}):
        was, now = old.action(score), new.action(score)
        if now < was:
            return f"at {score / 1_000_000:g}, {was.word} becomes {now.word}"
    return ""


def _rules(before: Content, after: Content) -> Iterator[Loosening]:
    new = {rule.id: rule for rule in after.rules}
    for old in before.rules:
        change = _weaker(old, new[old.id]) if old.id in new else "the rule is gone"
        if change:
            minors = MINORS in (old.category, *categories(old.when))
            yield Loosening(path=f"rules.{old.id}", message=change, minors=minors)


def _weaker(old: Rule, new: Rule) -> str:
    if (new.stage, new.when) != (old.stage, old.when):
        return "another condition or stage might let more through"
    longer = new.mode == old.mode and new.expires > old.expires
    changes = {
        f"{old.action.word} becomes {new.action.word}": new.action < old.action,
        f"mode {old.mode} becomes {new.mode}": _MODES.index(new.mode) < _MODES.index(old.mode),
        f"{old.mode} until {old.expires} becomes {new.expires}": longer,
        f"on_error {old.on_error} becomes {new.on_error}": _ON_ERROR.index(new.on_error)
        < _ON_ERROR.index(old.on_error),
    }
    return "; ".join(change for change, looser in changes.items() if looser)


def _marking(before: Content, after: Content) -> Iterator[Loosening]:
    old, new = before.marking, after.marking
    for layer in ("metadata", "watermark", "manifest"):
        if getattr(old, layer) and not getattr(new, layer):
            yield Loosening(path=f"marking.unsafe_no_{layer}", message=f"the {layer} is gone")
    if old.label and not new.label:
        yield Loosening(path="marking.label", message="the label is no longer on every picture")
    if old.metadata and new.metadata and old.metadata.aigc and not new.metadata.aigc:
        yield Loosening(path="marking.metadata", message="the AIGC label is gone")
    if old.watermark and new.watermark and old.watermark.latent and not new.watermark.latent:
        yield Loosening(path="marking.watermark", message="the mark in the initial noise is gone")
