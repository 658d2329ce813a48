"""People: public figures by name in prompts."""

from clearmark.guardrails.likeness._people import PeopleGuard, PersonHit, find_people, people_count

__all__ = ["PeopleGuard", "PersonHit", "find_people", "people_count"]
