"""What `/metrics` counts, as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from app.sandbox import Sandbox
from tests.conftest import MakeService
from tests.harness.browser import Browser
from tests.harness.provider import PUBLIC_URL
from tests.harness.service import Service, problem
from tests.harness.tables import on_sqlite_only

pytestmark = on_sqlite_only


async def measured(service: Service, name: str) -> dict[str, float]:
    """The samples of a metric, by their labels."""
    text = (await service.admin.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {" ".join(sample.labels.values()): sample.value for sample in samples if sample.name == name}


async def test_requests_are_counted_by_route_and_never_by_path(service: Service) -> None:
    await service.status("auth0|ana")
    await service.idp.get("/v1/nowhere/auth0|ana")
    requests = await measured(service, "idv_http_request_seconds_count")
    assert requests["GET /v1/users/{user_id} 200"] == 1
    assert "ana" not in " ".join(requests)
    assert "nowhere" not in " ".join(requests)


async def test_invented_methods_are_one_and_the_same_wherever_they_are_noted(service: Service) -> None:
    invented = [f"{letter}{'X' * 60_000}" for letter in "ABCDEFGHIJKLMNOPQRST"]
    with capture_logs() as events:
        for method in invented:
            for client in (service.client(None), service.admin):
                for path in ("/healthz", "/v1/users/ana", "/v1/nowhere"):
                    problem(
                        await client.request(method, path),
                        *((404, "not_found") if "now" in path else (405, "method_not_allowed")),
                    )
    rendered = (await service.admin.get("/metrics")).text
    assert "XXX" not in rendered
    assert len(rendered) < 30_000
    assert (await measured(service, "idv_http_request_seconds_count"))["other /healthz 405"] == 40
    assert {event["method"] for event in events} == {"other"}


async def test_probes_that_went_well_are_logged_at_debug_level(service: Service) -> None:
    with capture_logs() as events:
        for path in ("/healthz", "/readyz", "/metrics", "/v1/users/ana"):
            assert (await service.admin.get(path)).status_code == 200
        problem(await service.client(None).get("/metrics"), 401, "unauthorized")
    assert [(event["route"], event["log_level"]) for event in events] == [
        *((probe, "debug") for probe in ("/healthz", "/readyz", "/metrics")),
        ("/v1/users/{user_id}", "info"),
        ("/metrics", "info"),
    ]


async def test_the_request_that_asks_is_in_flight(service: Service) -> None:
    assert await measured(service, "idv_http_requests_in_flight") == {"": 1}


async def test_decisions_and_calls_to_the_provider_are_counted(service: Service) -> None:
    await service.verify("auth0|ana")
    assert await measured(service, "idv_decisions_total") == {"redirect never_verified": 1, "continue verified": 1}
    calls = await measured(service, "idv_provider_call_seconds_count")
    assert calls == {f"{endpoint} 2xx": 1 for endpoint in ("discovery", "token endpoint", "keys", "userinfo endpoint")}
    service.sandbox.down = {"token"}
    await service.verify("auth0|eve")
    assert (await measured(service, "idv_provider_call_seconds_count"))["token endpoint 5xx"] == 1


async def test_relay_callbacks_are_counted_by_outcome(service: Service) -> None:
    await service.verify("auth0|ana")
    await service.verify("auth0|eve", "denied")
    await service.send_callback("auth0|nobody", {"verification": {"id": f"idv_{0:032x}"}}, code="c")
    assert await measured(service, "idv_callbacks_total") == {
        "verified relay": 1,
        "access_denied relay": 1,
        "verification_not_found relay": 1,
    }


async def test_hosted_callbacks_are_counted_at_both_steps(make_service: MakeService) -> None:
    service = await make_service(public_url=PUBLIC_URL, return_urls="https://tenant.example/continue")
    started = await service.start("auth0|ana", flow="hosted")
    async with Browser(service) as browser, Browser(service) as stranger:
        address = await browser.at_provider(await browser.launch(started))
        await stranger.come_back(address)
        await browser.come_back(address)
        returned = await browser.come_back(address)
    token = returned.headers["Location"].partition("session_token=")[2].partition("&")[0]
    await service.send_callback("auth0|ana", None, session_token=token)
    await service.send_callback("auth0|eve", None, session_token=token)
    assert await measured(service, "idv_callbacks_total") == {
        "foreign_browser return": 1,
        "returned return": 2,
        "verified confirmation": 1,
        "verification_mismatch confirmation": 1,
    }


async def test_a_rotated_key_is_one_refetch(service: Service, sandbox: Sandbox) -> None:
    await service.verify("auth0|ana")
    assert await measured(service, "idv_key_refetches_total") == {"": 0}
    sandbox.rotate_key()
    await service.verify("auth0|eve")
    await service.verify("auth0|bob")
    assert await measured(service, "idv_key_refetches_total") == {"": 1}


async def test_connections_are_back_in_the_pool_after_each_request(service: Service) -> None:
    await service.verify("auth0|ana")
    assert await measured(service, "idv_database_connections_in_use") == {"": 0}
