"""Marks: brands by name in prompts."""

from clearmark.guardrails.trademark._brands import BrandGuard, BrandHit, find_brands

__all__ = ["BrandGuard", "BrandHit", "find_brands"]
