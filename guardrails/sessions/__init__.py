"""Requests of one person that belong together: a refused idea that comes back in other words, or in parts.

>>> from clearmark.guardrails.sessions import SessionGuard, SessionStore
>>> guard = SessionGuard(SessionStore.in_memory())
"""

from clearmark.guardrails.sessions._guard import SessionGuard
from clearmark.guardrails.sessions._store import SessionStore

__all__ = ["SessionGuard", "SessionStore"]
