from __future__ import annotations

import re

from app.oidc.pkce import code_challenge, new_code_verifier


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    challenge = code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_is_256_random_bits_made_of_unreserved_characters() -> None:
    verifiers = {new_code_verifier() for _ in range(100)}
    assert len(verifiers) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]{43}", verifier) for verifier in verifiers)
