import socket

from app.demo.serving import listening_socket


def test_each_piece_of_an_answer_is_sent_at_once() -> None:
    with listening_socket(0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
