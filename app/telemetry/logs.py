"""Logging: one event a line, as JSON for machines or as text for people.

Each has the ids of the request and of its trace.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog
from asgi_correlation_id import correlation_id
from pydantic_core import to_json
from structlog.typing import EventDict, Processor, WrappedLogger

# These libraries write URLs, SQL parameters and headers at their finer levels, whatever LOG_LEVEL says.
_QUIET = ("httpx", "httpcore", "aiosqlite", "asyncio", "sqlalchemy", "alembic", "asgi_correlation_id")


class _Output(structlog.WriteLogger):
    """Standard output for the events of one part of the service."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stdout)
        self.name = name


def configure_logging(level: str, log_format: str) -> None:
    """Send the service's own events of `level` and above, and the libraries' warnings, to standard output.

    Its own go there without the standard library's records: they took a quarter of a short request's time.
    """
    lowest = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
        if log_format == "console"
        else structlog.processors.JSONRenderer(serializer=_as_json)
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_exception_text, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(max(logging.INFO, lowest))
    structlog.configure(
        processors=[*shared, _without_exception_text, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )


def _as_json(event: EventDict, **_: Any) -> str:
    """One line; the standard library's encoder takes five times as long."""
    return to_json(event, fallback=repr).decode()


def fault_location(error: BaseException) -> dict[str, Any]:
    """Where an exception came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"fault": type(error).__name__, "frames": [f"{f.filename}:{f.lineno} {f.name}" for f in frames[-12:]]}


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if request_id := correlation_id.get():
        event["request_id"] = request_id
    return event


def _without_exception_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(fault_location(error))
    return event
