"""The settings: a frozen model, and how it is read from the environment, `.env` and mounted secrets."""

from app.settings.loading import SettingsInvalid, load_database_settings, load_settings
from app.settings.model import DatabaseSettings, Settings

__all__ = ["DatabaseSettings", "Settings", "SettingsInvalid", "load_database_settings", "load_settings"]
