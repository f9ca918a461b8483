"""What two calls of one callback share, and what nobody shares."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from app.oidc import Endpoint, ProviderUnavailable, Reason
from app.oidc.http import Client, Line
from tests.harness.waiting import until
from tests.harness.wire import Call, Script, Wire, hang_up_at_once, keep_silent

PATIENT = 10.0
FORM = {"code": "the code"}


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def answering(*words: bytes) -> Script:
    """Answer each request on the connection with the next words, and listen for more than there are words for."""

    async def script(call: Call) -> None:
        for each in words:
            await call.hear()
            await call.say(each)
        await call.hear_nothing_more()

    return script


async def token(line: Line, wire: Wire) -> dict[str, object]:
    return (await line.post_form(f"{wire.url}/token", Endpoint.TOKEN, {}, FORM)).json_object()


async def userinfo(line: Line, wire: Wire) -> dict[str, object]:
    return (await line.get(f"{wire.url}/userinfo", Endpoint.USERINFO, {})).json_object()


@asynccontextmanager
async def line_to(script: Script) -> AsyncIterator[tuple[Wire, Line]]:
    """A server, and a line to it that leaves nothing open there."""
    async with Wire(script).listening() as wire:
        async with Client(request_seconds=PATIENT).line() as line:
            yield wire, line
        await until(lambda: wire.ended == wire.opened)


TOKEN, USERINFO = answer(b'{"token":1}'), answer(b'{"userinfo":1}')


async def test_both_calls_of_one_callback_take_one_connection() -> None:
    async with line_to(answering(TOKEN, USERINFO)) as (wire, line):
        assert await token(line, wire) == {"token": 1}
        assert await userinfo(line, wire) == {"userinfo": 1}
        assert wire.opened == 1
    assert [request.partition(b" ")[0] for request in wire.requests] == [b"POST", b"GET"]


async def test_a_line_is_open_before_anything_is_said() -> None:
    async with line_to(answering(TOKEN)) as (wire, line):
        line.prepare(wire.url)
        await until(lambda: wire.opened == 1)
        assert wire.requests == []
        assert await token(line, wire) == {"token": 1}
        assert wire.opened == 1


async def test_no_two_callbacks_share_a_connection() -> None:
    client = Client(request_seconds=PATIENT)
    async with Wire(answering(TOKEN, USERINFO)).listening() as wire:
        for opened in (1, 2, 3):
            async with client.line() as line:
                await token(line, wire)
            assert wire.opened == opened
        async with client.line() as one, client.line() as other:
            await asyncio.gather(token(one, wire), token(other, wire))
            await asyncio.gather(userinfo(one, wire), userinfo(other, wire))
        assert wire.opened == 5
        await until(lambda: wire.ended == 5)


@pytest.mark.parametrize("use", ["nothing", "prepare", "half"])
async def test_a_line_leaves_nothing_open(use: str) -> None:
    async with line_to(answering(TOKEN)) as (wire, line):
        if use != "nothing":
            line.prepare(wire.url)
            await until(lambda: wire.opened == 1)
        if use == "half":
            await token(line, wire)


async def test_a_line_that_is_left_while_it_is_opened_leaves_nothing_open() -> None:
    async with Wire(keep_silent).listening() as wire:
        for url in (wire.url, wire.url.replace("http:", "https:")):
            async with Client(request_seconds=PATIENT).line() as line:
                line.prepare(url)
                await asyncio.sleep(0)
        await until(lambda: wire.ended == wire.opened)


async def _surplus_later(call: Call) -> None:
    await call.hear()
    await call.say(TOKEN)
    await call.say(answer(b'{"another":1}'))
    await call.hear_nothing_more()


SURPLUS: dict[str, Script] = {
    "another answer": answering(TOKEN + answer(b'{"another":1}'), USERINFO),
    "half of one": answering(TOKEN + b"HTTP/1.1 200 OK\r\nContent-Le", USERINFO),
    "no answer": answering(TOKEN + b"\x00", USERINFO),
    "another answer in a part of its own": _surplus_later,
}


@pytest.mark.parametrize("first", SURPLUS.values(), ids=SURPLUS)
async def test_bytes_that_nobody_asked_for_are_nobodys_answer(first: Script) -> None:
    scripts = iter([first, answering(USERINFO)])

    async def each_its_own(call: Call) -> None:
        await next(scripts)(call)

    async with line_to(each_its_own) as (wire, line):
        assert await token(line, wire) == {"token": 1}
        await asyncio.sleep(0.05)  # for the part that comes later; earlier, it would be noticed as well
        assert await userinfo(line, wire) == {"userinfo": 1}
        assert wire.opened == 2


async def test_a_server_that_closes_after_each_answer_is_called_again() -> None:
    async with line_to(answering(answer(b'{"token":1}', b"Connection: close"))) as (wire, line):
        await token(line, wire)
        assert await token(line, wire) == {"token": 1}
        assert wire.opened == 2


async def _hang_up_on_the_second(call: Call) -> None:
    await call.hear()
    await call.say(TOKEN)
    await call.hear()


async def test_on_a_used_connection_that_was_closed_reading_is_repeated_and_a_code_is_not() -> None:
    async with line_to(_hang_up_on_the_second) as (wire, line):
        await token(line, wire)
        assert await userinfo(line, wire) == {"token": 1}
        assert (wire.opened, len(wire.requests)) == (2, 3)
        with pytest.raises(ProviderUnavailable) as refused:
            await token(line, wire)
        assert refused.value.reason is Reason.CLOSED
        assert (wire.opened, len(wire.requests)) == (2, 4)


async def test_a_connection_that_was_closed_before_it_was_used_is_opened_again() -> None:
    scripts = iter([hang_up_at_once, answering(TOKEN)])

    async def each_its_own(call: Call) -> None:
        await next(scripts)(call)

    async with line_to(each_its_own) as (wire, line):
        line.prepare(wire.url)
        await until(lambda: wire.ended == 1)
        await asyncio.sleep(0.05)  # until this side has heard of it; sooner, the call fails, which is no worse
        assert await token(line, wire) == {"token": 1}
        assert len(wire.requests) == 1


async def test_what_could_not_be_prepared_is_told_by_the_call() -> None:
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        async with Client(request_seconds=PATIENT).line() as line:
            line.prepare(url)
        async with Client(request_seconds=PATIENT).line() as line:
            line.prepare(url)
            with pytest.raises(ProviderUnavailable) as refused:
                await line.post_form(url, Endpoint.TOKEN, {}, FORM)
    assert refused.value.reason is Reason.REFUSED


async def test_an_address_of_ipv6_is_bracketed_where_it_is_sent() -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(TOKEN)
        writer.close()

    async with await asyncio.start_server(serve, "::1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await Client(request_seconds=PATIENT).get_json(f"http://[::1]:{port}/x", Endpoint.KEYS)
    assert f"host: [::1]:{port}".encode() in heard[0].lower()


async def test_a_line_break_never_becomes_a_header() -> None:
    async with line_to(answering(USERINFO)) as (wire, line):
        for hostile in ("a\r\nX: y", "a\nX: y", "a\rX: y"):
            with pytest.raises(ProviderUnavailable):
                await line.get(wire.url, Endpoint.USERINFO, {"Authorization": f"Bearer {hostile}"})
    assert wire.requests == []
