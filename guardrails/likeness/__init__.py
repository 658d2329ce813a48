"""People: public figures by name in prompts, enrolled people by their faces in pictures."""

from clearmark.guardrails.likeness._guard import MATCH_DISTANCE, LikenessGuard
from clearmark.guardrails.likeness._people import PeopleGuard, PersonHit, find_people, people_count
from clearmark.guardrails.likeness._registry import Consent, Enrolment, LikenessRegistry, RegistryMatch

__all__ = [
    "MATCH_DISTANCE",
    "Consent",
    "Enrolment",
    "LikenessGuard",
    "LikenessRegistry",
    "PeopleGuard",
    "PersonHit",
    "RegistryMatch",
    "find_people",
    "people_count",
]
