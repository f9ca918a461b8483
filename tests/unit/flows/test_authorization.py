from app.core.domain import RequestSecrets
from app.flows.authorization import hosted_secrets, relay_secrets

WHERE = "https://tenant.example/continue"


def test_each_request_has_256_random_bits_of_its_own() -> None:
    made: list[RequestSecrets] = [*(relay_secrets(WHERE) for _ in range(50))]
    made += [hosted_secrets(WHERE, None) for _ in range(50)]
    for values in ([each.nonce for each in made], [each.code_verifier for each in made]):
        assert {len(value) for value in values} == {43}
        assert len(set(values)) == 100
