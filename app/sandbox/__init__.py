"""A small OpenID provider that really signs: it stands in for the verifying provider in demos and tests."""

from app.sandbox.config import Client, SandboxConfig
from app.sandbox.observation import Endpoint, Gate, RecordedRequest
from app.sandbox.outcomes import OUTCOMES, Outcome
from app.sandbox.personas import PERSONAS
from app.sandbox.sandbox import Sandbox

__all__ = [
    "OUTCOMES",
    "PERSONAS",
    "Client",
    "Endpoint",
    "Gate",
    "Outcome",
    "RecordedRequest",
    "Sandbox",
    "SandboxConfig",
]
