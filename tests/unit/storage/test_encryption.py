from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from app.storage.encryption import Cipher, Unreadable

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
CIPHER = Cipher([NEW])
VALUE = {"pii": {"name": "Ana Ruiz"}, "score": 0, "list": [None, True, "ñ"]}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(), json_values)
def test_what_is_sealed_can_be_opened(owner: str, value: Any) -> None:
    assert CIPHER.open(owner, CIPHER.seal(owner, value)) == value


def test_what_is_sealed_shows_nothing_and_never_looks_the_same() -> None:
    sealed = {CIPHER.seal("user:ana", VALUE) for _ in range(10)}
    assert len(sealed) == 10
    assert not any(word in text for text in sealed for word in (b"Ana Ruiz", b'"pii"', b"user:ana"))


def test_keys_can_be_rotated() -> None:
    before, rotating, after = Cipher([OLD]), Cipher([NEW, OLD]), CIPHER
    old, new = before.seal("u", VALUE), rotating.seal("u", VALUE)
    assert rotating.open("u", old) == rotating.open("u", new) == after.open("u", new) == VALUE
    with pytest.raises(Unreadable):
        after.open("u", old)
    with pytest.raises(Unreadable):
        before.open("u", new)


@pytest.mark.parametrize("owner", ["", "user:bob", "user:ana ", "USER:ANA", "answer:ana"])
def test_what_was_moved_to_another_owner_is_unreadable(owner: str) -> None:
    with pytest.raises(Unreadable):
        CIPHER.open(owner, CIPHER.seal("user:ana", VALUE))


def test_what_was_tampered_with_is_unreadable() -> None:
    sealed = CIPHER.seal("u", VALUE)
    # The last four characters of base64 may hold bits that mean nothing.
    for at in range(len(sealed) - 4):
        changed = b"B" if sealed[at : at + 1] == b"A" else b"A"
        with pytest.raises(Unreadable):
            CIPHER.open("u", sealed[:at] + changed + sealed[at + 1 :])


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"gAAAAA",
        b"\x00\xff",
        "ñ".encode(),
        CIPHER.seal("u", VALUE)[:-1],
        CIPHER.seal("u", VALUE)[:50],
        # ours, but not of this form
        Fernet(NEW).encrypt(b""),
        Fernet(NEW).encrypt(b"text"),
        Fernet(NEW).encrypt(b"\xff"),
        Fernet(NEW).encrypt(b'["u"]'),
        Fernet(NEW).encrypt(b'["u", 1, 2]'),
        Fernet(NEW).encrypt(b"{}"),
        Fernet(NEW).encrypt(b"5"),
        Fernet(NEW).encrypt(json.dumps(VALUE).encode()),
    ],
    ids=lambda sealed: repr(sealed[:10]),
)
def test_anything_else_is_unreadable(sealed: bytes) -> None:
    with pytest.raises(Unreadable) as unreadable:
        CIPHER.open("u", sealed)
    assert "Ana" not in repr(unreadable.value)


@pytest.mark.parametrize("stored", [b"text", "text", "ñ", 5, 1.5])
def test_what_sqlite_may_hold_in_the_place_of_a_token_is_unreadable(stored: Any) -> None:
    for attempt in (lambda: CIPHER.open("u", stored), lambda: CIPHER.reseal(stored)):
        with pytest.raises(Unreadable):
            attempt()
    assert CIPHER.opened_by(stored) is None
