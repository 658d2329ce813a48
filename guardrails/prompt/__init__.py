"""Prompt guards: read what a prompt says beneath syntax and disguise, and measure it by category."""

from clearmark.guardrails.prompt._guard import PromptGuard
from clearmark.guardrails.prompt._normalise import Change, Normalised, Word
from clearmark.guardrails.prompt._reading import Reading, read
from clearmark.guardrails.prompt._syntax import Part, parse

__all__ = ["Change", "Normalised", "Part", "PromptGuard", "Reading", "Word", "parse", "read"]
