import socket
from contextlib import closing

import pytest

from app.operator.server import CannotServe, bracketed, listener


def test_a_connection_does_not_wait_between_the_pieces_of_an_answer() -> None:
    with closing(listener("127.0.0.1", 0)) as bound:
        bound.listen()
        with closing(socket.create_connection(bound.getsockname())), closing(bound.accept()[0]) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "reached"), [("::", {"127.0.0.1", "::1"}), ("::1", {"::1"}), ("127.0.0.1", {"127.0.0.1"})]
)
def test_two_colons_are_every_address_of_both_families(host: str, reached: set[str]) -> None:
    with closing(listener(host, 0)) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((address, port)).close()
            except ConnectionRefusedError:
                assert address not in reached
            else:
                assert address in reached


def test_an_address_that_cannot_be_had_is_named() -> None:
    with closing(listener("127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            listener("127.0.0.1", port)
    with pytest.raises(CannotServe, match=r"nowhere\.invalid:1"):
        listener("nowhere.invalid", 1)


def test_an_address_of_ipv6_is_bracketed() -> None:
    assert [bracketed(host) for host in ("::", "fe80::1", "127.0.0.1", "localhost")] == [
        "[::]",
        "[fe80::1]",
        "127.0.0.1",
        "localhost",
    ]
