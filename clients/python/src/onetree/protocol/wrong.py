"""The error for what cannot be read or written."""

from __future__ import annotations

from ..codes import Action
from ..errors import OnetreeError


class Wrong(OnetreeError, ValueError):
    """Something is not what the protocol requires. `code` is one of `onetree.codes`, or `None` if
    the run of a transaction has ended."""

    action: Action = "fix"

    def __init__(self, code: str | None, message: str, id: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        """The code that says which rule is broken."""
        self.id = id
        """The `id` of the frame, if it could be read."""
