"""What a refused user is told, by category, where the policy says nothing of its own.

The words name the kind of content and never the score, the threshold or the term that was found: those help
whoever wants around a guard. `dsa` is filled only where the DSA transparency database has a keyword that we
have checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["REASONS", "UNAVAILABLE", "UNCOVERED", "ReasonText"]


@dataclass(frozen=True, kw_only=True)
class ReasonText:
    """Words and codes of a reason. `public` is for the user; `code`, `dsa` and `legal` are for reports."""

    code: str = ""
    public: str = ""
    dsa: str = ""
    legal: tuple[str, ...] = ()


REASONS: Mapping[str, ReasonText] = MappingProxyType(
    {
        "sexual": ReasonText(code="sexual", public="Sexual content is not made here."),
        "sexual/minors": ReasonText(
            code="sexual-minors",
            public="Sexual content that involves minors is never made here.",
            dsa="KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL_DEEPFAKE",
        ),
        "violence": ReasonText(code="violence", public="Violent content is not made here."),
        "violence/graphic": ReasonText(
            code="violence-graphic", public="Graphic depictions of violence are not made here."
        ),
        "hate": ReasonText(code="hate", public="Content that demeans people is not made here."),
        "harassment": ReasonText(
            code="harassment", public="Content that threatens or humiliates somebody is not made here."
        ),
        "self-harm": ReasonText(
            code="self-harm",
            public="Depictions of self-harm are not made here. A local crisis line can help.",
        ),
        "illicit": ReasonText(code="illicit", public="Content that helps to break the law is not made here."),
        "deception": ReasonText(
            code="deception",
            public="False documents, impersonation and deceptive political content are not made here.",
        ),
        "likeness/public-figure": ReasonText(
            code="likeness-public-figure", public="Pictures of real public figures are not made here."
        ),
        "likeness/registered": ReasonText(
            code="likeness-registered",
            public="This would show a person who has not agreed to be depicted.",
        ),
        "trademark": ReasonText(code="trademark", public="Protected brands and logos are not made here."),
        "copyright/character": ReasonText(
            code="copyright-character", public="Protected characters are not made here."
        ),
        "copyright/style": ReasonText(
            code="copyright-style", public="Works in the style of a named living artist are not made here."
        ),
        "session/retry": ReasonText(
            code="session-retry", public="The prompt is much like one that was refused before."
        ),
        "memorization": ReasonText(
            code="memorization", public="The picture came out too close to an existing work."
        ),
    }
)
"""The default reason of every category."""

UNAVAILABLE = ReasonText(
    code="check-unavailable",
    public="A safety check could not be made, so nothing was released. Please try again later.",
)
"""The reason where a guard failed, a required score is missing or a rule could not be evaluated."""

UNCOVERED = ReasonText(
    code="not-covered",
    public="The platform's policy does not cover this kind of input.",
)
"""The reason at a stage about which a policy says nothing."""
