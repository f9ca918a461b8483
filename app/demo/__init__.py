"""The demo: Acme, the service and the sandbox provider, all on this machine."""

from app.demo.run import Application, Demo, Ports, everything, run_demo
from app.demo.story import DemoFailed

__all__ = ["Application", "Demo", "DemoFailed", "Ports", "everything", "run_demo"]
