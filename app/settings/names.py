"""The names that a file of settings may hold, and what was probably meant by one that it may not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

FILE_SUFFIX = "_file"
# What else docker-compose.yml, the database's driver and the libraries read from the same file.
_OTHERS = frozenset(
    {
        *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("NO_COLOR", "SANDBOX_CLIENT_SECRET", "TZ", "WEB_CONCURRENCY"),
    }
)
_PREFIXES_OF_OTHERS = ("COMPOSE_", "DOCKER_", "IDV_", "OTEL_", "PG", "POSTGRES_")


@dataclass(frozen=True, slots=True)
class Names:
    """The settings' names in lower case, and which of them may end with _FILE."""

    settings: Collection[str]
    secrets: Collection[str]

    def is_setting(self, name: str) -> bool:
        """Whether we ourselves read this name."""
        return name.lower() in self.settings or name.lower().removesuffix(FILE_SUFFIX) in self.secrets

    def is_known(self, name: str) -> bool:
        """Whether something reads this name: we ourselves, or what runs beside us."""
        if self.is_setting(name):
            return True
        lower, upper = name.lower(), name.upper()
        # Whoever thinks that settings have a prefix is told that they have none.
        without_prefix = lower.removeprefix("idv_") in self.settings
        return upper in _OTHERS or (upper.startswith(_PREFIXES_OF_OTHERS) and not without_prefix)

    def meant_by(self, name: str) -> str | None:
        """The setting that an unknown name resembles, in upper case."""
        names = [*self.settings, *(secret + FILE_SUFFIX for secret in self.secrets)]
        lower = name.lower()
        if lower.removeprefix("idv_") in names:
            return lower.removeprefix("idv_").upper()
        close = get_close_matches(lower, names, n=1, cutoff=0.8)
        return close[0].upper() if close else None

    def resembling(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the names that look like a misspelt setting, each with the setting that was probably meant."""
        found = {}
        for name in sorted(set(names)):
            if not self.is_known(name) and (meant := self.meant_by(name)):
                found[name] = meant
        return found
