"""What the labeling app refuses to a person who is using it, with a code that a page can put into their language."""

from __future__ import annotations

from typing import Literal

from align.errors import AlignError, DataError

Code = Literal[
    "not-allowed", "not-yours", "lease-over", "nothing-to-undo", "bad-ranking", "bad-text", "login", "throttled",
    "bad-invitation", "name-taken", "bad-name", "bad-password", "form", "provider-down",
    "provider-refused", "declined", "no-account", "no-project", "no-path", "other-site",
]  # fmt: skip
"""Why something was refused; pages translate these."""


class NoProject(DataError):
    """A project is named that is not there."""


class Refused(AlignError):
    """A person asked for something that is not theirs to do, or sent what cannot be taken."""

    def __init__(self, code: Code, found: str, *, where: str = "", allowed: str = "", remedy: str = "") -> None:
        super().__init__(found, where=where, allowed=allowed, remedy=remedy)
        self.code: Code = code
