"""The Python side of a running server: its event loop, its lifespan, its entries.

Owns :class:`Host`. The idea: the core runs the server; it comes here only to start a coroutine, and a thread with an
event loop is made when the first one needs it (``serve()`` lends the loop it runs on instead).
Must not: know what an entry does.
"""

from __future__ import annotations

import contextvars
import threading  # here, on the main thread: the first thread to import it is taken for the main one
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from .server import Server
    from .tool import Record


class Host:
    """One run of a server."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Remember the context variables as they are now; every call runs in a copy of them."""
        self.server = server
        self.context = contextvars.copy_context()
        self.state: Any = None
        self.planned: dict[tuple[str, str], Record] = {}
        self._loop = loop
        self._lent = loop is not None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._lifespan: AbstractAsyncContextManager[Any] | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that coroutines run on, started if it must be."""
        if self._loop is None:
            import asyncio  # noqa: PLC0415 - a server of sync tools never needs it

            with self._lock:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    self._thread = threading.Thread(target=self._turn, args=(loop,), name="bartizan-loop", daemon=True)
                    self._thread.start()
                    self._loop = loop
        return self._loop

    @staticmethod
    def _turn(loop: asyncio.AbstractEventLoop) -> None:
        import asyncio  # noqa: PLC0415 - a server of sync tools never needs it

        asyncio.set_event_loop(loop)
        loop.run_forever()

    def start(
        self,
        function: Callable[[], Awaitable[Any]],
        finish: Callable[[Any], Any],
        sink: Any,
    ) -> Callable[[], None]:
        """Start a coroutine from any thread; its result goes to `sink`. Returns what cancels it."""
        running = _Running(function, finish, sink, self.loop())
        running.loop.call_soon_threadsafe(running.begin, context=self.context.copy())
        return running.cancel

    async def enter(self) -> None:
        """Enter the server's lifespan."""
        if self.server.lifespan is not None:
            self._lifespan = self.server.lifespan(self.server)
            self.state = await self._lifespan.__aenter__()

    async def leave(self) -> None:
        """Leave the server's lifespan."""
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.__aexit__(None, None, None)

    def open(self) -> None:
        """Enter the lifespan from a thread without a loop."""
        if self.server.lifespan is not None:
            import asyncio  # noqa: PLC0415 - a server of sync tools never needs it

            asyncio.run_coroutine_threadsafe(self.enter(), self.loop()).result()

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what still runs, leave the lifespan, and stop our loop; all of it within `timeout` seconds."""
        loop, thread = self._loop, self._thread
        if loop is None or self._lent or thread is None or not thread.is_alive():
            return
        import asyncio  # noqa: PLC0415 - a server of sync tools never needs it
        import concurrent.futures  # noqa: PLC0415 - asyncio has it already
        import time  # noqa: PLC0415 - only at the end

        deadline = time.monotonic() + timeout

        async def end() -> None:
            mine = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel()
            if tasks:
                # Half of the time for what will not be cancelled; the lifespan has the rest.
                await asyncio.wait(tasks, timeout=timeout / 2)
            await self.leave()
            await loop.shutdown_asyncgens()

        ending = asyncio.run_coroutine_threadsafe(end(), loop)
        try:
            ending.result(timeout)
        except concurrent.futures.TimeoutError:
            import logging  # noqa: PLC0415 - only if it goes wrong

            logging.getLogger("bartizan").warning("the lifespan did not end in time; it was left behind")
        finally:
            self._lifespan = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join(max(0.05, deadline - time.monotonic()))
            if not thread.is_alive():
                loop.close()
            self._loop = None


class _Running:
    """One coroutine on its way."""

    __slots__ = ("cancelled", "finish", "function", "loop", "sink", "task")

    def __init__(
        self,
        function: Callable[[], Awaitable[Any]],
        finish: Callable[[Any], Any],
        sink: Any,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.function = function
        self.finish = finish
        self.sink = sink
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False

    def begin(self) -> None:
        """Make the task; runs on the loop, inside a copy of the captured context."""
        if not self.cancelled:
            self.task = self.loop.create_task(self.run())

    async def run(self) -> None:
        """Run to the end and hand the result over."""
        import asyncio  # noqa: PLC0415 - a server of sync tools never needs it

        try:
            result = self.finish(await self.function())
        except asyncio.CancelledError:
            self.sink.failed(asyncio.CancelledError())
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises ends the call, never the loop
            self.sink.failed(error)
        else:
            self.sink.done(result)

    def cancel(self) -> None:
        """Cancel from any thread."""
        self.cancelled = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
