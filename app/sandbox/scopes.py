"""The scopes: what each one means to a person, and which userinfo claims it allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """One scope value (OpenID Connect Core 1.0 section 5.4)."""

    words: str
    claims: tuple[str, ...] = ()


SCOPES = {
    "openid": Scope("The result of the verification"),
    "profile": Scope("Name and date of birth", ("name", "given_name", "family_name", "birthdate")),
    "email": Scope("E-mail address", ("email",)),
    "phone": Scope("Phone number", ("phone_number",)),
    "address": Scope("Home address", ("address",)),
    "id_attestation": Scope("Details of the identity document", ("id_attestation",)),
    "identity_assurance": Scope("How sure the provider is of the identity", ("verified_claims",)),
}


def claims_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """Name the userinfo claims that these scopes allow together."""
    return tuple(claim for scope in scopes for claim in SCOPES[scope].claims)
