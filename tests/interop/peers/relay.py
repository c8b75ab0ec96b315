"""A long way between two servers: a TCP relay that takes its time in one direction."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from asyncio import Queue, StreamReader, StreamWriter
from types import TracebackType
from typing import Self


class Relay:
    """What comes to `address` goes on to `to` after `seconds`; what is said back goes back at once.

    The end of a connection takes as long as the bytes before it.
    """

    def __init__(self, to: tuple[str, int], seconds: float) -> None:
        self._to = to
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._carry, to[0], 0))
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """The address at which it takes connections."""
        host, port = self._server.sockets[0].getsockname()
        return host, port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            back = asyncio.create_task(_pass_on(far_reader, writer, 0.0))
            await _pass_on(reader, far_writer, self._seconds)
            await back
        writer.close()


async def _pass_on(reader: StreamReader, writer: StreamWriter, seconds: float) -> None:
    """All that comes, until the end, each piece that long after it came."""
    under_way: Queue[tuple[float, bytes]] = Queue()
    arriving = asyncio.create_task(_arrive(under_way, writer))
    now = asyncio.get_running_loop().time
    data = b"..."
    while data:
        try:
            data = await reader.read(65536)
        except ConnectionError:
            data = b""
        under_way.put_nowait((now() + seconds, data))
    await arriving


async def _arrive(under_way: Queue[tuple[float, bytes]], writer: StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due, data = await under_way.get()
        await asyncio.sleep(due - now())
        if not data:
            break
        writer.write(data)
    writer.close()
