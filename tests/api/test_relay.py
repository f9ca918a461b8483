from tests.harness.service import CLAIM, Service


async def test_a_new_user_is_verified_and_then_recently_verified(service: Service) -> None:
    started = await service.start("auth0|ana", email="ana@example.com")
    assert (started["action"], started["reason"]) == ("redirect", "never_verified")

    finished = await service.finish("auth0|ana", started, **await service.visit(started))

    assert (finished["action"], finished["reason"]) == ("continue", "verified")
    claim = finished["claims"][CLAIM]
    assert claim["completed"] is True
    assert claim["pii"]["email"] == "ana@example.com"
    again = await service.start("auth0|ana")
    assert (again["action"], again["reason"]) == ("continue", "recently_verified")
    assert again["claims"] == finished["claims"]
    assert service.asked("token") == 1
