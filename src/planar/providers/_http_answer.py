"""The streamed half of what HTTP providers share: one answer, as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import anyio

from planar.errors import ProviderError, ProviderTimeoutError, RequestError, StreamInterruptedError
from planar.events import Event, Finish
from planar.protocols import Call
from planar.providers._http import Endpoint
from planar.transport import HttpResponse
from planar.transport._silence import Silence, make_silence
from planar.types import Phase
from planar.wire._base import Decoder, WireRequest
from planar.wire._errors import rate_limits, request_id

CLOSING = 5.0
"""Seconds that closing a connection may take, whatever the caller is being cancelled for."""
DRAINING = 0.25
"""Seconds that a finished answer's body may take to end, so that its connection can be used again."""


class HttpAnswer:
    """One answer as it arrives: the block that asks for it, and the iterator over its batches.

    Args:
        endpoint: Whom to ask.
        encode: Writes the request; called when the block is entered.
        decoder: Reads the answer.
        call: What this attempt may use.
        deployment: `provider:model`, for errors.
        streamed: Whether a stream was asked for. In a stream only content is progress; in the whole form every byte is
            but white space, which is how some servers keep a connection alive.
    """

    __slots__ = (
        "_call",
        "_decoder",
        "_deployment",
        "_encode",
        "_ended",
        "_endpoint",
        "_exchange",
        "_exhausted",
        "_finished",
        "_notices",
        "_pieces",
        "_response",
        "_silence",
        "_since",
        "_spoken",
        "_streamed",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        encode: Callable[[], WireRequest],
        decoder: Decoder,
        *,
        call: Call,
        deployment: str,
        streamed: bool,
    ) -> None:
        self._endpoint = endpoint
        self._encode: Callable[[], WireRequest] | None = encode
        self._decoder = decoder
        self._call = call
        self._deployment = deployment
        self._streamed = streamed
        self._exchange: Any = None
        self._pieces: Any = None
        self._response: Any = None
        self._silence: Silence | None = None
        self._notices: Sequence[Event] = ()
        self._since: float | None = None  # when the wait for content began; None after content
        self._spoken = False  # something was said: from here on silence is a stall
        self._finished = False  # `Finish` was given
        self._ended = False  # no batch will follow
        self._exhausted = False  # the body was read to its end

    async def __aenter__(self) -> Self:
        assert self._encode is not None
        wire = self._encode()
        self._encode = None  # with it goes the request: an answer may be open for long
        call, endpoint = self._call, self._endpoint
        self._notices = wire.notices
        timeouts = call.timeouts
        request = endpoint.request(wire, connect=timeouts.connect, answer=timeouts.first_token)
        exchange = endpoint.transport.open(request)
        self._since = call.clock.monotonic()  # not before: loading an HTTP library is no fault of the provider's
        silence = self._silence = make_silence()
        try:
            response = await self._opened(exchange, silence)
        except BaseException as error:
            silence.stop()
            if isinstance(error, ProviderError):
                endpoint.sign(error, self._deployment)
            raise
        self._exchange = exchange
        try:
            await self._accept(response)
        except BaseException as error:
            await self._leave()
            if isinstance(error, ProviderError | RequestError):
                self._signed(error)
            raise
        return self

    async def _opened(self, exchange: Any, silence: Silence) -> HttpResponse:
        """The headers. The transport's own clock starts again with every byte that arrives; this one does not."""
        connect, answer = self._call.timeouts.connect, self._call.timeouts.first_token
        response: HttpResponse
        try:
            if connect is None or answer is None:
                response = await exchange.__aenter__()
            else:
                response = await silence.wait(exchange.__aenter__, connect + answer)
        except TimeoutError:
            raise ProviderTimeoutError("the provider's headers did not end in time", phase="first_token") from None
        return response

    async def _accept(self, response: HttpResponse) -> None:
        if not 200 <= response.status < 300:
            now = self._call.clock.time()
            raise await self._endpoint.refused(response, now=now, deployment=self._deployment)
        info = self._call.response
        info.request_id = request_id(response.headers)
        info.rate_limits = rate_limits(response.headers)
        self._response = response
        self._pieces = aiter(response)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Event]:
        if self._notices:
            notices, self._notices = self._notices, ()
            return notices
        if self._ended:
            raise StopAsyncIteration
        if self._finished:
            await self._drain()
            raise StopAsyncIteration
        # Read here rather than in a method: a coroutine more for every read of every stream would be felt.
        timeouts, response, decoder = self._call.timeouts, self._response, self._decoder
        while True:
            limit = timeouts.stall if self._spoken else timeouts.first_token
            try:
                if self._spoken:
                    decoder.feed(b"")  # an error that came with the last events
                if limit is None or response.arrived:
                    piece = await self._pieces.__anext__()
                else:
                    silence = self._silence = self._silence or make_silence()
                    piece = await silence.wait(self._pieces.__anext__, self._left(limit))
                events = decoder.feed(piece)
            except StopAsyncIteration:
                return self._last()
            except TimeoutError:
                raise self._signed(self._too_silent(limit)) from None
            except (ProviderError, RequestError) as error:
                self._signed(error)
                raise
            if events or not (self._streamed or piece.isspace()):
                self._spoken = True
                self._since = None
                self._finished = bool(events) and type(events[-1]) is Finish
            if events or not response.arrived:
                return events

    def _last(self) -> Sequence[Event]:
        """What the decoder makes of the end of the body."""
        self._exhausted = True
        try:
            events = self._decoder.close()
        except (ProviderError, RequestError) as error:
            self._signed(error)
            raise
        self._ended = True
        if not events:
            raise StopAsyncIteration
        return events

    def _signed(self, error: ProviderError | RequestError) -> ProviderError | RequestError:
        info = self._call.response
        self._endpoint.sign(error, self._deployment)
        error.request_id = error.request_id or info.request_id
        if isinstance(error, StreamInterruptedError) and error.usage is None:
            error.usage = info.usage
        return error

    def _left(self, limit: float) -> float:
        """Seconds until the silence has lasted too long. The caller's own time between two reads does not count.

        Raises:
            TimeoutError: It already has.
        """
        if self._since is None:
            self._since = self._call.clock.monotonic()
            return limit
        left = self._since + limit - self._call.clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _too_silent(self, limit: float | None) -> ProviderTimeoutError:
        phase: Phase = "stall" if self._spoken else "first_token"
        when = "between two pieces of its answer" if self._spoken else "before it said anything"
        return ProviderTimeoutError(f"the provider was silent for {limit:g} s {when}", phase=phase)

    async def _drain(self) -> None:
        """Read the little that follows a finished answer: a connection that is read to its end is used again."""
        self._ended = True
        if self._response.arrived:
            self._exhausted = True
            return
        silence = self._silence = self._silence or make_silence()
        try:
            for _ in range(8):
                await silence.wait(self._pieces.__anext__, DRAINING)
        except StopAsyncIteration:
            self._exhausted = True
        except (TimeoutError, ProviderError):
            return  # the answer was whole: whatever follows is closed with the connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished and not self._ended and kind is None:
            await self._drain()
        await self._leave()

    async def _leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if self._silence is not None:
            self._silence.stop()
        if exchange is None:
            return
        if self._exhausted:
            await exchange.__aexit__(None, None, None)
            return
        # A caller who is being cancelled still closes the connection: the vendor stops counting then.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSING):
            await exchange.__aexit__(None, None, None)
