"""Acme: a made-up identity provider with a login in the browser, and the example of how one calls the gateway.

Read `integration.py` first: it is all that an identity provider needs. The rest is Acme's own pages and sessions.
"""

from app.acme.gateway import Gateway
from app.acme.journal import Step, credentials_shortened, secrets_shortened
from app.acme.site import CONTINUE, create_app
from app.acme.wire import Wire, traces

__all__ = ["CONTINUE", "Gateway", "Step", "Wire", "create_app", "credentials_shortened", "secrets_shortened", "traces"]
