import re
from typing import Any

from app.core.api_keys import hashed
from app.core.domain import Role
from tests.conftest import MakeService
from tests.harness.service import ADMIN_KEY, IDP_KEY, OTHER_IDP_KEY, Json, Service, problem

# The browser holds no key; what it holds is checked by these routes themselves.
BROWSER_ROUTES = {("GET", "/v1/callback"), ("GET", "/v1/verifications/{}/launch")}
ADMIN_ROUTES = {("POST", "/v1/users/{}/reset"), ("DELETE", "/v1/users/{}")}
SCHEMES = {Role.IDP: "IdpKey", Role.SUPPORT: "SupportKey", Role.METRICS: "MetricsKey", Role.ADMIN: "AdminKey"}
KEYS = {
    Role.IDP: IDP_KEY,
    Role.SUPPORT: "support-key-0123456789-0123456789-0123456789",
    Role.METRICS: "metrics-key-0123456789-0123456789-0123456789",
    Role.ADMIN: ADMIN_KEY,
}
# The contract's routes, and who may use each.
ADMITTED = {
    ("POST", "/v1/verifications"): (Role.IDP, Role.ADMIN),
    ("POST", "/v1/callback"): (Role.IDP, Role.ADMIN),
    ("GET", "/v1/users/{}"): (Role.IDP, Role.SUPPORT, Role.ADMIN),
    ("GET", "/v1/verifications"): (Role.SUPPORT, Role.ADMIN),
    ("GET", "/v1/verifications/{}"): (Role.SUPPORT, Role.ADMIN),
    ("GET", "/v1/audit"): (Role.SUPPORT, Role.ADMIN),
    ("GET", "/metrics"): (Role.METRICS, Role.ADMIN),
    **dict.fromkeys(sorted(ADMIN_ROUTES), (Role.ADMIN,)),
}

KEY = IDP_KEY.encode()
UNKNOWN = {
    "no scheme": KEY,
    "an empty header": b"",
    "a scheme alone": b"Bearer",
    "a scheme and a space": b"Bearer ",
    "a scheme and spaces": b"Bearer    ",
    "a wrong key": b"Bearer wrong",
    "another scheme": b"Basic " + KEY,
    "a scheme that begins alike": b"BearerX " + KEY,
    "a tab after the scheme": b"Bearer\t" + KEY,
    "the key in other case": b"Bearer " + KEY.upper(),
    "a key that is too short": b"Bearer " + KEY[:-1],
    "a key that is too long": b"Bearer " + KEY + b"0",
    "two keys": b"Bearer " + KEY + b" " + KEY,
    "two keys and a comma": b"Bearer " + KEY + b", Bearer " + KEY,
    "a quoted key": b'Bearer "' + KEY + b'"',
    "a name and a key": b"Bearer acme=" + KEY,
    "UTF-8": "Bearer schlüssel-".encode() + KEY,
    "Latin-1": "Bearer schlüssel-".encode("latin-1") + KEY,
    "bytes that are no UTF-8": b"Bearer \xff\xfe\xc3",
    "a no-break space after the key": b"Bearer " + KEY + b"\xa0",
    "a next-line character after the key": b"Bearer " + KEY + b"\x85",
    "a null-like word": b"Bearer null",
    "a megabyte less": b"Bearer " + b"x" * 20_000,
}
KNOWN = {
    "as it is written": b"Bearer " + KEY,
    "the scheme in lower case": b"bearer " + KEY,
    "the scheme in upper case": b"BEARER " + KEY,
    "two spaces": b"Bearer  " + KEY,
}


def v1_operations(service: Service) -> list[tuple[str, str, Json]]:
    """The documented operations under /v1 that need a key: method, path with empty braces, operation."""
    paths: dict[str, dict[str, Any]] = service.app.openapi()["paths"]
    found = [
        (method.upper(), re.sub(r"{\w+}", "{}", path), operation)
        for path, operations in paths.items()
        for method, operation in operations.items()
        # A hook that is off says so to everybody (tests/api/test_hooks.py).
        if path.startswith("/v1") and not path.startswith("/v1/hooks/")
    ]
    assert {(method, path) for method, path, _ in found} >= {
        ("POST", "/v1/verifications"),
        ("POST", "/v1/callback"),
        *ADMIN_ROUTES,
    }
    return [operation for operation in found if operation[:2] not in BROWSER_ROUTES]


async def test_what_is_not_a_known_key_is_refused(service: Service) -> None:
    async with service.client(None) as client:
        for what, header in UNKNOWN.items():
            response = await client.get("/v1/users/ana", headers=[(b"Authorization", header)])
            assert response.status_code == 401, what
            problem(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert IDP_KEY not in response.text, what


async def test_the_scheme_is_case_insensitive_and_spaces_may_follow_it(service: Service) -> None:
    async with service.client(None) as client:
        for what, header in KNOWN.items():
            response = await client.get("/v1/users/ana", headers=[(b"Authorization", header)])
            assert response.status_code == 200, what


async def test_a_key_counts_in_the_authorization_header_only(service: Service) -> None:
    async with service.client(None) as client:
        for headers in (
            {"X-Api-Key": IDP_KEY},
            {"Proxy-Authorization": f"Bearer {IDP_KEY}"},
            {"Cookie": f"Authorization={IDP_KEY}"},
        ):
            problem(await client.get("/v1/users/ana", headers=headers), 401, "unauthorized")
        problem(await client.get(f"/v1/users/ana?access_token={IDP_KEY}"), 401, "unauthorized")


async def test_every_v1_route_refuses_callers_without_a_known_key(service: Service) -> None:
    async with service.client(None) as stranger, service.client("wrong") as wrong:
        for method, path, operation in v1_operations(service):
            for client in (stranger, wrong):
                for body in (b"{", b"{}", b""):
                    response = await client.request(
                        method, path.format("ana"), content=body, headers={"Content-Type": "application/json"}
                    )
                    assert response.status_code == 401, (method, path, body)
                    problem(response, 401, "unauthorized")
                    assert response.headers["WWW-Authenticate"]
            assert "401" in operation["responses"], (method, path)


async def test_every_keyed_route_says_in_the_openapi_document_whose_keys_it_takes(service: Service) -> None:
    document = service.app.openapi()
    for method, path, operation in [*v1_operations(service), ("GET", "/metrics", document["paths"]["/metrics"]["get"])]:
        schemes = [scheme for entry in operation["security"] for scheme in entry]
        assert schemes == [SCHEMES[role] for role in ADMITTED[method, path]], f"{method} {path}"
        assert {"401", "403"} <= operation["responses"].keys()
    described = document["components"]["securitySchemes"]
    keyed = {name: scheme for name, scheme in described.items() if name in SCHEMES.values()}
    assert keyed.keys() == set(SCHEMES.values())
    assert all((scheme["type"], scheme["scheme"]) == ("http", "bearer") for scheme in keyed.values())


async def test_a_key_opens_the_routes_of_its_role_and_no_other(make_service: MakeService) -> None:
    service = await make_service(
        support_api_keys=f"desk={KEYS[Role.SUPPORT]}", metrics_api_keys=f"prom={KEYS[Role.METRICS]}"
    )
    await service.verify("ana")
    before = await service.status("ana")
    assert {(method, path) for method, path, _ in v1_operations(service)} | {("GET", "/metrics")} == ADMITTED.keys()
    refused = 0
    for (method, path), admitted in ADMITTED.items():
        for role in set(Role) - set(admitted):
            async with service.client(KEYS[role]) as client:
                response = await client.request(
                    method, path.format("ana"), content=b"{", headers={"Content-Type": "application/json"}
                )
            problem(response, 403, "forbidden")
            assert "WWW-Authenticate" not in response.headers
            refused += 1
    assert refused >= 2 * len(ADMITTED)
    assert await service.status("ana") == before


async def test_each_role_can_do_its_work(make_service: MakeService) -> None:
    service = await make_service(
        support_api_keys=f"desk={KEYS[Role.SUPPORT]}", metrics_api_keys=f"prom={KEYS[Role.METRICS]}"
    )
    attempt = (await service.verify("ana"))["verification"]["id"]
    async with service.client(KEYS[Role.SUPPORT]) as desk, service.client(KEYS[Role.METRICS]) as prometheus:
        for path in ("/v1/users/ana", "/v1/verifications", f"/v1/verifications/{attempt}"):
            assert (await desk.get(path)).status_code == 200, path
        assert (await prometheus.get("/metrics")).status_code == 200
    assert (await service.admin.get("/metrics")).status_code == 200
    assert (await service.admin.get(f"/v1/verifications/{attempt}")).status_code == 200
    assert (await service.admin.post("/v1/users/ana/reset")).json()["reason"] == "not_verified"
    assert (await service.admin.delete("/v1/users/ana")).status_code == 204
    assert (await service.status("ana"))["reason"] == "never_verified"


async def test_support_sees_no_tokens(make_service: MakeService) -> None:
    service = await make_service(support_api_keys=f"desk={KEYS[Role.SUPPORT]}", store_tokens=True)
    await service.verify("ana")
    async with service.client(KEYS[Role.SUPPORT]) as desk:
        assert "access_token" not in (await desk.get("/v1/users/ana")).text
    assert "access_token" in (await service.admin.get("/v1/users/ana")).text


async def test_the_role_is_checked_before_the_user_is_looked_at(service: Service) -> None:
    for user_id in ("ana", "%00", "x" * 256):
        problem(await service.idp.delete(f"/v1/users/{user_id}"), 403, "forbidden")
        problem(await service.idp.post(f"/v1/users/{user_id}/reset"), 403, "forbidden")


async def test_an_attempt_names_the_keys_that_started_and_finished_it(service: Service) -> None:
    names = {IDP_KEY: "acme", OTHER_IDP_KEY: "other", ADMIN_KEY: "root"}
    for starting, starter in names.items():
        for finishing, finisher in names.items():
            user_id = f"{starter}-{finisher}"
            async with service.client(starting) as client:
                started = (await client.post("/v1/verifications", json={"user_id": user_id})).json()
            assert (started["verification"]["started_by"], started["verification"]["finished_by"]) == (starter, None)
            ids = {"user_id": user_id, "verification_id": started["verification"]["id"]}
            body = {**ids, **await service.visit(started)}
            async with service.client(finishing) as client:
                finished = (await client.post("/v1/callback", json=body)).json()
            assert finished["reason"] == "verified"
            assert (finished["verification"]["started_by"], finished["verification"]["finished_by"]) == (
                starter,
                finisher,
            )


async def test_a_key_may_be_configured_by_its_hash(make_service: MakeService) -> None:
    entry, shouted = hashed(IDP_KEY), hashed(OTHER_IDP_KEY)
    shouted = "sha256:" + shouted.removeprefix("sha256:").upper()
    service = await make_service(api_keys=f"quiet={entry}, loud={shouted}", admin_api_keys=f"root={hashed(ADMIN_KEY)}")
    assert (await service.start("ana"))["verification"]["started_by"] == "quiet"
    async with service.client(OTHER_IDP_KEY) as client:
        assert (await client.post("/v1/verifications", json={"user_id": "ana"})).json()["verification"][
            "started_by"
        ] == "loud"
    assert (await service.admin.post("/v1/users/ana/reset")).status_code == 200
    for hash_itself in (entry, entry.removeprefix("sha256:")):
        async with service.client(hash_itself) as client:
            problem(await client.get("/v1/users/ana"), 401, "unauthorized")


async def test_a_service_without_administrators_keys_has_no_administrators(make_service: MakeService) -> None:
    service = await make_service(admin_api_keys="")
    problem(await service.admin.delete("/v1/users/ana"), 401, "unauthorized")
    problem(await service.idp.delete("/v1/users/ana"), 403, "forbidden")


async def test_operations_need_no_key(service: Service) -> None:
    async with service.client(None) as client:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200, path
