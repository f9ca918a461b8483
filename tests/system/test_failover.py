"""A real PostgreSQL primary that dies, and the replica that takes its place: the service goes on by itself."""

import httpx
import pytest

from tests.harness.loopback import NO_TLS
from tests.harness.postgres_server import own_server
from tests.harness.service import is_told_of
from tests.harness.waiting import PATIENCE
from tests.system.processes import ADMIN_KEY, SETTINGS, Workplace, eventually, serving

pytestmark = pytest.mark.usefixtures("alone")  # many processes at once slow each other down


def test_the_service_goes_on_with_the_replica_and_leaves_the_old_primary_alone(work: Workplace) -> None:
    with own_server() as old, own_server(old) as new:
        url = f"postgres://postgres@127.0.0.1:{old.port},127.0.0.1:{new.port}/postgres"
        assert work.run("migrate", settings={**SETTINGS, "DATABASE_URL": url}).returncode == 0
        with (
            serving(work, DATABASE_URL=url) as (_, address),
            httpx.Client(
                base_url=address, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE, verify=NO_TLS
            ) as admin,
        ):

            def records(user_id: str) -> bool:
                answer = admin.post(f"/v1/users/{user_id}/reset")
                if answer.status_code != 200:
                    is_told_of(answer)
                return answer.status_code == 200

            def on_file() -> int:
                return len(admin.get("/v1/audit").json()["items"])

            assert records("ana")
            eventually(lambda: bool(new.ask("SELECT count(*) FROM audit")), "the copy of what was recorded")

            old.stop("immediate")
            assert not records("ben")
            assert admin.get("/readyz").status_code == 503
            new.promote()
            eventually(lambda: records("ben"), "the new primary")
            assert admin.get("/readyz").status_code == 200
            assert on_file() == 2

            old.demote()
            old.start()
            new.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idv-gateway'")
            eventually(lambda: records("eve"), "the new primary again")
            assert on_file() == new.ask("SELECT count(*) FROM audit") == 3
