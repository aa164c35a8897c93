"""Work that is not begun: of requests that would be answered too late, and of clients that have gone."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import refuse
from service.workers import OverloadedError, Workers

CONNECTION = "nearpose.connection"  # in a scope: the other end of the socket; "client" is for whom a proxy asks


class Admission:
    """Refuses a POST where its work would wait too long for a thread, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        workers: Workers = scope["app"].state.service.workers
        client = scope.get(CONNECTION), scope.get("client")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context((workers.admitted if scope["method"] == "POST" else workers.unadmitted)(client))
            except OverloadedError as error:
                await refuse(error, scope, receive, send)
                return
            await self._app(scope, receive, send)


class CancelOnDisconnect:
    """Cancels a request whose client has closed the connection, unless its answer is on the way.

    Where it waits for a thread, it leaves the line; ASGI servers by themselves let it run to its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Watched(receive, send)
        if scope["method"] == "GET":  # its handler asks for no body, and would not begin to watch
            await request.begin()
        try:
            await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            if not request.gone:
                raise
            request.task.uncancel()
        finally:
            request.close()


class _Watched:
    """The two ends of a request, watched for a disconnect from the moment that its body has been read."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._watch: asyncio.Task[Message] | None = None
        self._read: Message | None = None  # and not passed on yet
        self._answered = False
        self.gone = False
        task = asyncio.current_task()
        assert task is not None  # a coroutine that runs is in one
        self.task = task

    async def begin(self) -> None:
        """Reads the first part of the body, which for most is all of it, before it is asked for."""
        self._read = await self.receive()

    async def receive(self) -> Message:
        if self._read is not None:
            message, self._read = self._read, None
            return message
        if self._watch is not None:  # after the body only a disconnect can come
            return await asyncio.shield(self._watch)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.ensure_future(self._receive())
            self._watch.add_done_callback(self._disconnected)
        return message

    async def send(self, message: Message) -> None:
        self._answered = True
        await self._send(message)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _disconnected(self, watch: asyncio.Task[Message]) -> None:
        if not watch.cancelled() and not self._answered:
            self.gone = True
            self.task.cancel()
