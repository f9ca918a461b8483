"""What `.env` and files of secrets may hold, and how each mistake is told."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import SettingsInvalid, load_database_settings
from app.settings.model import NAMES
from tests.harness.containers import REPOSITORY
from tests.unit.settings.given import REQUIRED, SECRET, Load, lines, names_of


def dotenv(values: dict[str, str]) -> None:
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")


def test_the_env_file_of_the_working_directory_is_read(load: Load) -> None:
    dotenv({**REQUIRED, "INCODE_CLIENT_ID": "ñ", "REVERIFICATION_HOURS": "5", "ATTEMPT_LIMIT": ""})
    settings = load(required={})
    assert (settings.incode_client_id, settings.reverification_hours, settings.attempt_limit) == ("ñ", 5, 20)


def test_the_environment_wins_over_the_env_file(load: Load) -> None:
    dotenv({"REVERIFICATION_HOURS": "5", "ATTEMPT_LIMIT": "5"})
    settings = load(ATTEMPT_LIMIT="7")
    assert (settings.reverification_hours, settings.attempt_limit) == (5, 7)


def test_a_mistake_in_the_env_file_is_a_line_without_the_value(load: Load) -> None:
    dotenv({"REDIRECT_SECRET": "MARKER", "REVERIFICATION_HOURS": "abc"})
    found = lines(load, {**REQUIRED, "REDIRECT_SECRET": ""})
    assert names_of(found) == ["REDIRECT_SECRET", "REVERIFICATION_HOURS"]
    assert "MARKER" not in str(found)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("'pa${word}x'", "pa${word}x"),
        ("pa${word}x", "pa${word}x"),
        ('"pa$word x"', "pa$word x"),
        ("'pa#word'", "pa#word"),
        ("pa#word", "pa#word"),
        ("pa word # a comment", "pa word"),
        ("$HOME", "$HOME"),
        (r"'back\slash'", r"back\slash"),
    ],
)
def test_the_env_file_is_read_to_the_letter(load: Load, written: str, read: str) -> None:
    dotenv({"INCODE_CLIENT_SECRET": written})
    assert load(INCODE_CLIENT_SECRET=None, word="WORD").incode_client_secret.get_secret_value() == read


def test_a_byte_order_mark_is_no_part_of_the_first_name(load: Load) -> None:
    Path(".env").write_text("\ufeffREVERIFICATION_HOURS=5\n", encoding="utf-8")
    assert load().reverification_hours == 5


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BLOCK_ON_FALIURE", "BLOCK_ON_FAILURE"),
        ("block_on_falure", "BLOCK_ON_FAILURE"),
        ("ENCRYPTION_KEY", "ENCRYPTION_KEYS"),
        ("REDIRECT_URL", "REDIRECT_URI"),
        ("INCODE_CLIENT_SECRT_FILE", "INCODE_CLIENT_SECRET_FILE"),
        ("IDV_REQUIRE_STATUS", "REQUIRE_STATUS"),
        ("REQUIRE_STATUS_FILE", "REQUIRE_STATUS"),
    ],
)
def test_a_misspelt_name_in_the_env_file_stops_with_the_one_that_was_meant(load: Load, name: str, meant: str) -> None:
    dotenv({name: "MARKER"})
    [line] = lines(load)
    assert line == f"{name}: is the name of no setting; {meant} was probably meant"


@pytest.mark.parametrize("name", ["ATTEMPT_LIMIT", "REDIRECT_SECRET_FILE"])
@pytest.mark.parametrize("again", [str.upper, str.lower])
def test_a_setting_that_the_env_file_gives_twice_stops(load: Load, name: str, again: Callable[[str], str]) -> None:
    Path(".env").write_text(f"{name}=5\n\n{again(name)}=6\n")
    assert lines(load, REDIRECT_SECRET=None)[0] == f"{name}: is given twice in .env; take one of them out"


def test_a_setting_that_the_env_file_gives_once_and_empty_once_is_given_once(load: Load) -> None:
    Path(".env").write_text("ATTEMPT_LIMIT=\nATTEMPT_LIMIT=5\nHTTPS_PROXY=http://a\nhttps_proxy=http://b\n")
    assert load().attempt_limit == 5


def test_a_setting_that_the_environment_gives_in_two_spellings_stops(load: Load) -> None:
    [line] = lines(load, ATTEMPT_LIMIT="5", attempt_limit="6")
    assert line == "ATTEMPT_LIMIT: is given twice in the environment; take one of them out"


def test_a_name_that_resembles_none_stops_too(load: Load) -> None:
    dotenv({"FAVOURITE_FOOD": "MARKER"})
    assert lines(load) == ["FAVOURITE_FOOD: is the name of no setting; take it out of .env"]


@pytest.mark.parametrize("wrong", ["MARKER", "MARKER MARKER", "=MARKER", "'MARKER", "marker9c1e=MARKER"])
def test_a_line_that_is_no_entry_is_told_by_its_number_for_it_may_be_part_of_a_secret(load: Load, wrong: str) -> None:
    Path(".env").write_text(f"# A comment\n\nATTEMPT_LIMIT=5\n\n{wrong}\n")
    [line] = lines(load)
    assert line.startswith(".env: line 5 ")
    assert "marker" not in line.lower()


def test_names_of_compose_and_of_libraries_are_known(load: Load) -> None:
    compose = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"\$\{([A-Z_]+)", compose) if name.lower() not in type(load()).model_fields}
    assert "IDV_PORT" in named
    others = (
        "PGPASSWORD",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "HTTPS_PROXY",
        "https_proxy",
        "COMPOSE_PROFILES",
        "WEB_CONCURRENCY",
    )
    dotenv(dict.fromkeys((*named, *others), "3"))
    assert load()


def test_in_the_environment_what_resembles_a_setting_can_be_found() -> None:
    names = ["PATH", "HOME", "DATABASE_URL", "BLOCK_ON_FALIURE", "IDV_PORT", "api_keys", "LANG", "HOSTNAME", "SCOPE"]
    assert NAMES.resembling(names) == {"BLOCK_ON_FALIURE": "BLOCK_ON_FAILURE", "SCOPE": "SCOPES"}


@pytest.mark.parametrize("made", ["a folder", "not UTF-8"])
def test_an_env_file_that_cannot_be_read_is_a_line(load: Load, made: str) -> None:
    if made == "a folder":
        Path(".env").mkdir()
    else:
        Path(".env").write_bytes(b"INCODE_CLIENT_ID=\xff\n")
    [line] = lines(load)
    assert line.startswith(".env: ")


def test_a_secret_may_stand_in_a_file(load: Load, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text(f"{SECRET}-from-a-file\n")
    assert load(REDIRECT_SECRET=None, REDIRECT_SECRET_FILE=str(mounted)).redirect_secrets == [f"{SECRET}-from-a-file"]


def test_the_file_of_the_environment_wins_over_the_value_of_the_env_file(load: Load, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text("sqlite+aiosqlite:///mounted.db")
    dotenv({"DATABASE_URL": "sqlite+aiosqlite:///written.db"})
    assert load(DATABASE_URL_FILE=str(mounted)).database_url.get_secret_value() == "sqlite+aiosqlite:///mounted.db"
    assert load_database_settings().database_url.get_secret_value() == "sqlite+aiosqlite:///mounted.db"


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (None, "REDIRECT_SECRET_FILE", "No such file"),
        (b"\n", "REDIRECT_SECRET_FILE", "empty"),
        (b"\xff" * 40, "REDIRECT_SECRET_FILE", "UTF-8"),
        (b"MARKER", "REDIRECT_SECRET", "32"),
    ],
    ids=["missing", "empty", "no text", "too short"],
)
def test_a_file_that_holds_no_secret_is_one_line(
    load: Load, tmp_path: Path, content: bytes | None, name: str, says: str
) -> None:
    mounted = tmp_path / "mounted"
    if content is not None:
        mounted.write_bytes(content)
    [line] = lines(load, REDIRECT_SECRET=None, REDIRECT_SECRET_FILE=str(mounted))
    assert line.startswith(f"{name}: ")
    assert says in line
    assert "MARKER" not in line


def test_a_secret_is_given_once(load: Load, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text(f"acme={SECRET}")
    [line] = lines(load, API_KEYS_FILE=str(mounted))
    assert line.startswith("API_KEYS: is given, and in API_KEYS_FILE, too")


def test_a_migration_needs_the_database_alone(load: Load) -> None:
    with pytest.raises(SettingsInvalid):
        load(required={})
    dotenv({"DATABASE_URL": "postgres://db/idv", "BLOCK_ON_FAILURE": "maybe"})
    assert load_database_settings().database_url.get_secret_value() == "postgres://db/idv"
