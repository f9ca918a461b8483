"""The demo: the service, the sandbox provider and a stand-in for an identity provider, all on this machine."""

from app.demo.run import run_demo
from app.demo.story import DemoFailed

__all__ = ["DemoFailed", "run_demo"]
