import socket
from contextlib import closing

import uvicorn

from app.operator.server import shared_listener


def test_a_connection_to_one_of_several_workers_does_not_wait_between_the_pieces_of_an_answer() -> None:
    with closing(shared_listener(uvicorn.Config("app.main:from_environment", host="127.0.0.1", port=0))) as listener:
        listener.listen()
        with closing(socket.create_connection(listener.getsockname())), closing(listener.accept()[0]) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
