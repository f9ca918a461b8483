"""Every number among the settings, at the largest that is accepted: the whole service works with it."""

import sys

import pytest

from app.settings import Settings
from tests.api.test_housekeeping import MakeHouse, make_house  # noqa: F401  a fixture
from tests.harness.service import USER, gist

# Of a setting without a bound: more than any machine counts.
WITHOUT_BOUND = {"number": sys.float_info.max, "integer": 10**30}
LARGEST = {
    name: schema.get("maximum", WITHOUT_BOUND[schema["type"]])
    for name, schema in Settings.model_json_schema()["properties"].items()
    if schema.get("type") in WITHOUT_BOUND
}


@pytest.mark.parametrize(("name", "value"), LARGEST.items())
async def test_the_service_works_with_the_largest_number_that_is_accepted(
    name: str,
    value: float,
    make_house: MakeHouse,  # noqa: F811
) -> None:
    house = await make_house(**{name: value})
    await house.is_kept()
    finished = await house.service.verify(USER)
    assert gist(finished) == ("continue", "verified")
    assert (await house.service.status(USER))["verified"]
    assert gist(await house.service.start(USER)) == ("continue", "recently_verified")
    assert gist(await house.service.start(USER, force=True)) == ("redirect", "forced")
    assert gist(await house.service.start(USER, flow="hosted", force=True)) == ("redirect", "forced")
    await house.is_kept()
