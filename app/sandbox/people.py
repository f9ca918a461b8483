"""The made-up persons, and how a hint leads to one of them."""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Person:
    """What an identity document and a form would say of somebody."""

    given_name: str
    family_name: str
    birthdate: str
    email: str
    phone_number: str
    street_address: str
    locality: str
    postal_code: str
    country: str

    def claims(self) -> dict[str, object]:
        """Render as claims of OpenID Connect Core 1.0 section 5.1."""
        name = f"{self.given_name} {self.family_name}"
        verified_name = {"name": name, "birthdate": self.birthdate}
        return {
            "name": name,
            "given_name": self.given_name,
            "family_name": self.family_name,
            "birthdate": self.birthdate,
            "email": self.email,
            "phone_number": self.phone_number,
            "address": {
                "formatted": f"{self.street_address}\n{self.postal_code} {self.locality}\n{self.country}",
                "street_address": self.street_address,
                "locality": self.locality,
                "postal_code": self.postal_code,
                "country": self.country,
            },
            "id_attestation": {"document_type": "passport", "issuing_country": self.country, "valid": True},
            "verified_claims": [{"verification": {"trust_framework": "sandbox"}, "claims": verified_name}],
        }


PEOPLE = (
    Person(
        "Lucía", "Ferrer", "1988-03-14", "lucia@example.com", "+34600555010", "Calle Mayor 7", "Madrid", "28013", "ES"
    ),
    Person(
        "Daniel", "Okafor", "1979-11-02", "daniel@example.com", "+442079460112", "4 Mill Lane", "Leeds", "LS1 4AP", "GB"
    ),
    Person("Mei", "Tanaka", "1995-07-21", "mei@example.com", "+12025550143", "210 Elm Street", "Salem", "97301", "US"),
    Person(
        "Andrés", "Quiroga", "1991-01-30", "andres@example.com", "+525555550177", "Río Tíber 51", "CDMX", "06500", "MX"
    ),
    Person("Noor", "El-Amin", "2001-09-09", "noor@example.com", "+33199005521", "3 rue du Pont", "Lyon", "69002", "FR"),
    Person(
        "Ingrid", "Solberg", "1966-05-17", "ingrid@example.com", "+4799900123", "Fjordgata 12", "Bergen", "5003", "NO"
    ),
    Person(
        "Tomás",
        "Araújo",
        "1984-12-05",
        "tomas@example.com",
        "+5511955550186",
        "Rua das Flores 90",
        "Recife",
        "50010",
        "BR",
    ),
)


@dataclass(frozen=True)
class Subject:
    """A person under the identity id that the provider knows them by."""

    identity_id: str
    person: Person


def is_identity_id(hint: str) -> bool:
    """Tell whether a `login_hint` asks for Face Authentication: identity ids are 24 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{24}", hint) is not None


class People:
    """Everybody who was ever identified here.

    An identity id is a hash of its hint and a person is chosen by the id, so that both outlive a restart; only an
    e-mail address that came as a hint is remembered, and lost.
    """

    def __init__(self) -> None:
        self._known = {_identity_id(person.email): person for person in PEOPLE}

    def identify(self, hint: str | None) -> Subject:
        """Find the subject of a hint: the same one for the same hint, a new one without a hint."""
        hint = hint or secrets.token_urlsafe()
        identity_id = hint if is_identity_id(hint) else _identity_id(hint)
        return Subject(identity_id, self._known.setdefault(identity_id, _person(identity_id, hint)))

    def somebody_else(self, subject: Subject) -> Subject:
        """Find a subject with another identity and another name, always the same one."""
        candidates = (self.identify(f"{n} instead of {subject.identity_id}") for n in itertools.count())
        return next(other for other in candidates if other.person.family_name != subject.person.family_name)


def _identity_id(hint: str) -> str:
    return hashlib.sha256(hint.encode()).hexdigest()[:24]


def _person(identity_id: str, hint: str) -> Person:
    person = PEOPLE[int(identity_id, 16) % len(PEOPLE)]
    return replace(person, email=hint) if "@" in hint else person


def released(person: Person, names: tuple[str, ...]) -> Mapping[str, object]:
    """Pick the claims of a person that may be handed out."""
    claims = person.claims()
    return {name: claims[name] for name in names}
