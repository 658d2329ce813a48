"""Marks and characters: brands by name, characters by name or description, styles of living artists."""

from clearmark.guardrails.trademark._brands import BrandGuard, BrandHit, find_brands
from clearmark.guardrails.trademark._characters import (
    CharacterGuard,
    CharacterHit,
    find_characters,
    find_styles,
)

__all__ = [
    "BrandGuard",
    "BrandHit",
    "CharacterGuard",
    "CharacterHit",
    "find_brands",
    "find_characters",
    "find_styles",
]
