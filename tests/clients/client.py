"""`websockets` on standard input and output: orders in, events out, a JSON value a line.

tests/src/foreign.rs has the list of both.

Usage: python client.py URL [SUBPROTOCOL...]
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


def say(event):
    print(json.dumps(event), flush=True)


async def report_pong(data, pong):
    try:
        await pong
        say({"pong": data})
    except ConnectionClosed:
        pass  # The reader of messages reports the end.


async def obey(socket, pongs):
    """Do what standard input says, until it ends."""
    reader = asyncio.StreamReader(limit=1 << 26)  # A line is an order of any length.
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        if "send" in order:
            await socket.send(order["send"])
        if "send_hex" in order:
            await socket.send(bytes.fromhex(order["send_hex"]))
        if "ping" in order:
            pong = await socket.ping(order["ping"])
            pongs.append(asyncio.ensure_future(report_pong(order["ping"], pong)))
        if "close" in order:
            await socket.close(*order["close"])


async def main(url, subprotocols):
    try:
        # No pings and no reconnecting of its own: a test sees only the frames that it ordered.
        socket = await connect(
            url, subprotocols=subprotocols or None, ping_interval=None, proxy=None
        )
    except InvalidStatus as error:
        say({"refused": error.response.status_code})
        return
    say({"open": socket.subprotocol or ""})
    pongs = []
    orders = asyncio.ensure_future(obey(socket, pongs))
    try:
        while True:
            message = await socket.recv()
            say({"text": message} if isinstance(message, str) else {"hex": message.hex()})
    except ConnectionClosed as error:
        received = error.rcvd
        say({"closed": [received.code, received.reason] if received else [1006, ""]})
    orders.cancel()


asyncio.run(main(sys.argv[1], sys.argv[2:]))
