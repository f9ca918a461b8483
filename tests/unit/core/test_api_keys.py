from __future__ import annotations

import hashlib

import pytest

from app.core.api_keys import ambiguous_name, check_name, hashed, holder_of, new_key, parse_api_keys
from app.core.domain import Caller, Role

KEY = "a-key-of-more-than-thirty-two-characters"
OTHER = "another-key-of-more-than-thirty-two-characters"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


@pytest.mark.parametrize(
    "written", [KEY, f"sha256:{DIGEST}", f"sha256:{DIGEST.upper()}"], ids=["plain", "hashed", "hashed in capitals"]
)
@pytest.mark.parametrize("role", Role)
def test_a_key_opens_for_its_holder(written: str, role: Role) -> None:
    keys = parse_api_keys(f"acme={written}", role)
    assert holder_of(KEY, keys) == Caller("acme", role)


@pytest.mark.parametrize(
    "key", ["", OTHER, KEY + " ", KEY[:-1], KEY.upper(), DIGEST, f"sha256:{DIGEST}", f"acme={KEY}", "ñ"]
)
def test_nothing_else_opens(key: str) -> None:
    for written in (KEY, f"sha256:{DIGEST}"):
        assert holder_of(key, parse_api_keys(f"acme={written}", Role.ADMIN)) is None
    assert holder_of(key, []) is None


@pytest.mark.parametrize("text", [f"a={KEY},b={OTHER}", f" a={KEY} , b={OTHER} ", f",a={KEY},,\n b={OTHER},"])
def test_several_keys_are_separated_by_commas(text: str) -> None:
    keys = parse_api_keys(text, Role.IDP)
    assert [key.holder.name for key in keys] == ["a", "b"]
    assert [holder_of(key, keys) for key in (KEY, OTHER)] == [Caller("a", Role.IDP), Caller("b", Role.IDP)]


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_no_keys_are_no_keys(text: str) -> None:
    assert parse_api_keys(text, Role.IDP) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a", "k" * 31 + "y"),
        ("a" * 64, KEY),
        ("Acme-EU_1.2", KEY),
        ("0", KEY),
        ("a", "with=signs/and+padding==" + "k" * 10),
        ("a", "!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~k"),
    ],
)
def test_what_names_and_keys_may_look_like(name: str, key: str) -> None:
    check_name(name)
    assert holder_of(key, parse_api_keys(f"{name}={key}", Role.IDP)) == Caller(name, Role.IDP)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", ".a", "_a", "ñ", "a\n", "a/b", "a:b", "a" * 65])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        check_name(name)
    with pytest.raises(ValueError, match="name"):
        parse_api_keys(f"x={OTHER},{name}!={KEY}", Role.IDP)


REFUSED = [
    "acme=" + "M" * 40,
    "acme=MARKER",
    "acme=MARKER-but-31-characters-long--",
    "acme=MARKER with a space in the middle of it",
    "acme=MARKER\tand-a-tab-and-thirty-two-characters",
    "acme=MARKER-ñ-and-more-than-thirty-two-characters",
    "acme=sha256:MARKER",
    f"acme=sha256:{DIGEST}MARKER",
    f"acme=sha256:MARKER{DIGEST[6:]}",
    "MARKER-a-key-of-thirty-two-characters-without-a-name",
    "a name=MARKER-a-key-of-more-than-thirty-two-characters",
    # A key whose name was forgotten may end with base64's own "=", and name and key may change places.
    "MARKERa2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V=",
    "MARKERa2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2==",
    "MARKER-a-key-of-more-than-thirty-two-characters=acme",
    f"MARKER-a-key-of-more-than-thirty-two-characters=sha256:{DIGEST[1:]}",
]


@pytest.mark.parametrize("entry", REFUSED)
@pytest.mark.parametrize("before", ["", f"other={OTHER},"])
def test_a_bad_key_is_refused_without_a_word_of_it(entry: str, before: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  that no message shows a key is what is tested
        parse_api_keys(before + entry, Role.IDP)
    assert str(refused.value)
    assert "MARKER" not in f"{refused.value!r} {refused.value.__cause__!r} {refused.value.__context__!r}"
    assert OTHER not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"a={KEY},b={OTHER}", None),
        (f"a={KEY},A={OTHER}", None),
        (f"a={KEY},a={OTHER}", "a"),
        (f"a={KEY},b={KEY}", "b"),
        (f"a={KEY},b=sha256:{DIGEST}", "b"),
        (f"a={KEY}", None),
        ("", None),
    ],
)
def test_two_keys_that_an_audit_could_not_tell_apart_are_found(text: str, name: str | None) -> None:
    assert ambiguous_name(parse_api_keys(text, Role.IDP)) == name


def test_a_key_does_not_show() -> None:
    [key] = parse_api_keys(f"acme={KEY}", Role.IDP)
    assert KEY not in repr(key)
    assert DIGEST not in repr(key)
    assert key.digest.hex() == DIGEST


def test_new_keys_are_random_and_good_in_both_forms() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    for key in keys:
        for written in (key, hashed(key)):
            assert holder_of(key, parse_api_keys(f"acme={written}", Role.IDP)) == Caller("acme", Role.IDP)
    assert hashed(KEY) == f"sha256:{DIGEST}"
