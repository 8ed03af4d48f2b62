"""Streams a campaign to a web socket, message by message, as JSON.

``python examples/stream_to_websocket.py [PACK]`` (``pip install websockets``). The client in this
script stands for a browser; when it goes away, the run is cancelled and can be gone on with.
"""

from __future__ import annotations

import asyncio
import json
import sys

from autogen_agentchat.base import TaskResult
from autogen_core import CancellationToken
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from recipelab import research_team


async def campaign(socket: ServerConnection) -> None:
    """Runs the campaign that the client asks for, and sends all that is said."""
    asked = json.loads(await socket.recv())
    team = research_team(asked["pack"], sandbox="local", trials=asked["trials"], slots=1)
    token = CancellationToken()
    gone = asyncio.create_task(socket.wait_closed())
    gone.add_done_callback(lambda task: token.cancel())
    try:
        async for item in team.run_stream(cancellation_token=token):
            if not isinstance(item, TaskResult):
                await socket.send(item.model_dump_json())
    except (ConnectionClosed, asyncio.CancelledError):
        print(f"the client has gone; {team.plan.name} can go on later")
    finally:
        await team.close()


async def main(pack: str) -> None:
    """Serves one client, which is a part of this script."""
    async with serve(campaign, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as client:
            await client.send(json.dumps({"pack": pack, "trials": 2}))
            async for text in client:
                message = json.loads(text)
                print(f"{message['source']}: {message['type']} {str(message['content'])[:60]}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "airbench96"))
