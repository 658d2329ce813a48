"""The error tree; see `clearmark.core.errors`, where it is drawn."""

from clearmark.core.errors import *  # noqa: F403
from clearmark.core.errors import __all__ as __all__
