"""The two ways to refuse a request."""

from __future__ import annotations


class UntrustedRequestError(Exception):
    """Nothing says where an answer may go: the person sees a page, never a redirect (RFC 6749 section 4.1.2.1)."""


class ProtocolError(Exception):
    """A refusal that the relying party is told of (RFC 6749 sections 4.1.2.1 and 5.2)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status

    @property
    def fields(self) -> dict[str, str]:
        """The two fields as they are sent."""
        return {"error": self.error, "error_description": self.description}
