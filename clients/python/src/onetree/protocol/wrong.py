"""What cannot be read or written."""

from __future__ import annotations

from ..codes import Action
from ..errors import OnetreeError


class Wrong(OnetreeError, ValueError):
    """Something is not what the protocol says it must be; `code` is one of `onetree.codes`, and
    `None` where a run of a transaction has ended."""

    action: Action = "fix"

    def __init__(self, code: str | None, message: str, id: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        """The code that says which rule is broken."""
        self.id = id
        """The `id` of the frame, where one could be read."""
