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

    def has_passed(self) -> bool:
        """Whether the moment is over."""
        return asyncio.get_running_loop().time() >= self.at
