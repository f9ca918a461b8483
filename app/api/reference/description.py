"""What the OpenAPI document says of the API as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

TEXT: Final = (Path(__file__).parent / "description.md").read_text(encoding="utf-8")
# In the order in which a login meets them.
TAGS: Final[list[dict[str, Any]]] = [
    {
        "name": "Verify",
        "description": "Start a verification when somebody logs in, and finish it when the browser is back.",
    },
    {
        "name": "Hosted flow",
        "description": (
            "Where the browser goes when the service takes the provider's redirect. Your backend calls neither."
        ),
    },
    {"name": "Users", "description": "Whether a user's verification stands, and how an administrator takes it away."},
    {
        "name": "Token hooks",
        "description": (
            "What identity providers call while they mint a token. Each is off until its settings are there."
        ),
    },
    {
        "name": "Audit",
        "description": "Who was verified, when, by which keys, and why it failed; and what administrators did.",
    },
    {"name": "Operations", "description": "What probes and monitoring ask."},
]
