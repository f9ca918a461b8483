import json
from functools import cache
from typing import Any

from app.main import create_app
from tests.harness.service import Json, settings_for


def document_of(**settings: Any) -> Json:
    """The OpenAPI document of a service with these settings. To describe it takes long: that is done once for all."""
    document: Json = json.loads(_described(tuple(sorted(settings.items()))))
    return document


@cache
def _described(settings: tuple[tuple[str, Any], ...]) -> str:
    app = create_app(settings_for("https://provider.invalid", "sqlite+aiosqlite:///./unused.db", **dict(settings)))
    return json.dumps(app.openapi())
