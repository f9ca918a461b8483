import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
Variables = Mapping[str, str | None]
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<otherwise>[-?])(?P<text>[^}]*)\}")


def read(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """What a Dockerfile says, each continued line joined: the instruction and its arguments."""
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def last(of: list[tuple[str, str]], instruction: str) -> str:
    return [arguments for name, arguments in of if name == instruction][-1]


def health_command(arguments: str) -> list[str]:
    """The command of a HEALTHCHECK instruction in its exec form."""
    command: list[str] = json.loads(arguments.partition(" CMD ")[2])
    return command


def composition() -> dict[str, Any]:
    """The compose file with its anchors merged and its variables as they are written."""
    loaded: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return loaded


def variables_in(value: Any) -> set[str]:
    """The names of all variables that the value takes from `.env`."""
    return {match["name"] for match in _VARIABLE.finditer(json.dumps(value))}


def filled_in(value: Any, variables: Variables) -> Any:
    """The value as Compose hands it on. Raises KeyError for a required variable that is not set."""
    if isinstance(value, dict):
        return {name: filled_in(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [filled_in(part, variables) for part in value]
    return _VARIABLE.sub(lambda match: _chosen(match, variables), value) if isinstance(value, str) else value


def _chosen(match: re.Match[str], variables: Variables) -> str:
    given = variables.get(match["name"])
    if given:
        return given
    if match["otherwise"] == "?":
        raise KeyError(match["name"])
    return match["text"]
