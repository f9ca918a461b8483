"""A moment by which something must be done, on the event loop's clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment `at`, in seconds of the running event loop's clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment that is so many seconds away from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    def left(self) -> float:
        """How many seconds are left; none or fewer once the moment has passed."""
        return self.at - asyncio.get_running_loop().time()

    def has_passed(self) -> bool:
        """Whether the moment is over."""
        return self.left() <= 0
