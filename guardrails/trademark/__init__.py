"""Marks and characters: brands, logos, characters by name or looks, styles of living artists."""

from clearmark.guardrails.trademark._brands import BrandGuard, BrandHit, find_brands
from clearmark.guardrails.trademark._characters import (
    CharacterGuard,
    CharacterHit,
    find_characters,
    find_styles,
)
from clearmark.guardrails.trademark._logos import LogoHit, LogoIndex, find_logos, logo_index
from clearmark.guardrails.trademark._pictures import MarkGuard, TextReader, read_text

__all__ = [
    "BrandGuard",
    "BrandHit",
    "CharacterGuard",
    "CharacterHit",
    "LogoHit",
    "LogoIndex",
    "MarkGuard",
    "TextReader",
    "find_brands",
    "find_characters",
    "find_logos",
    "find_styles",
    "logo_index",
    "read_text",
]
