from app.core.domain import Addresses
from app.operator.check import check_addresses, check_environment


def test_a_name_in_the_environment_that_resembles_a_setting_is_told() -> None:
    [found] = check_environment({"PATH": "/bin", "BLOCK_ON_FALIURE": "MARKER", "BLOCK_ON_FAILURE": "true"})
    assert found.subject == "BLOCK_ON_FALIURE"
    assert found.remedy
    assert "BLOCK_ON_FAILURE was probably meant" in found.remedy
    assert "MARKER" not in found.result + found.remedy


def test_the_processes_that_the_environment_asks_for_are_told() -> None:
    [found] = check_environment({"WEB_CONCURRENCY": "3"})
    assert (found.subject, found.remedy) == ("WEB_CONCURRENCY", None)
    assert "3 processes" in found.result


def test_every_address_to_which_browsers_are_sent_is_looked_at() -> None:
    addresses = Addresses(
        redirect_uris=("https://a.example/continue", "http://b.example/continue"),
        public_url="http://127.0.0.1:8000",
        return_urls=("https://a.example/back",),
    )
    assert [(found.subject, found.result, found.remedy is None) for found in check_addresses(addresses)] == [
        ("PUBLIC_URL", "is on this machine; no other can reach it", True),
        ("REDIRECT_URI, number 1", "is https", True),
        ("REDIRECT_URI, number 2", "is plain http", False),
        ("RETURN_URLS", "is https", True),
    ]
