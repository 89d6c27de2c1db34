"""A client's connection to an actor, the server's side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from .._errors import ActorError, ProtocolError
from ..protocol.verdicts import PROBE, is_scheduling
from ._encodings import ActionRequest, ServerCodec, SubscriptionRequest
from ._faults import ConnectFault, Plan
from ._instance import Host, Instance, internal_error, logger
from ._peers import ActorConnection
from ._records import ActionCalled, Connected, Disconnected, Refused, Subscribed, Unsubscribed
from ._steps import begin
from ._timeline import shown
from ._websocket import ServerWebSocket

__all__ = ["ReplyLost", "Session", "failure", "perform", "plan_action", "without_metadata"]

_REASON_BYTES = 123
"""How long a close frame's reason can be. (RFC 6455, section 5.5)"""


class Session:
    """One connection, from the handshake to its end."""

    def __init__(
        self,
        host: Host,
        instance: Instance,
        codec: ServerCodec,
        connection_id: str,
        params: Any,
        channel: ServerWebSocket,
        fault: ConnectFault | None,
    ) -> None:
        self.connection = ActorConnection(connection_id, instance.ref, params, self)
        self._host = host
        self._instance = instance
        self._codec = codec
        self._channel = channel
        self._fault = fault
        self._subscriptions: set[str] = set()
        self._generation = 0
        self._waiting: deque[ActionRequest | SubscriptionRequest] = deque()
        self._is_working = False

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._channel.run(self._talk)

    # What an actor's connection does

    def deliver(self, event: str, args: tuple[Any, ...], *, subscribed_only: bool) -> None:
        if subscribed_only and event not in self._subscriptions:
            return
        data = self._codec.event(event, args)
        if self._host.is_silent or self._instance.is_dead:
            self._instance.note(f"event {event!r} {shown(args)} is lost with the host")
        elif self._host.limits.lets_out(data):
            self._channel.send_message(data)
            self._instance.note(f"event {event!r} {shown(args)} sent to {self.connection.id}")
        elif self._host.release.has_engine:
            self._channel.close(1011, "message.outgoing_too_long")
        else:
            raise self._host.limits.outgoing_too_long()

    def close(self, code: int, reason: str) -> None:
        self._channel.close(code, reason)

    def drop(self) -> None:
        self._channel.drop()

    def send_message(self, data: str | bytes) -> None:
        self._channel.send_message(data)

    def send_bytes(self, data: bytes) -> None:
        self._channel.send_bytes(data)

    async def _talk(self) -> None:
        instance, connection = self._instance, self.connection
        try:
            if self._fault is not None and self._fault.error is not None:
                error = self._fault.error
                if error.group == "guard" or (
                    self._host.release.has_engine and is_scheduling(error)
                ):
                    # No host is there for the actor: the gateway says so itself.
                    self._end_with(self._fault.error)
                    return
                raise self._fault.error
            try:
                await self._host.heard()
                await instance.ready()
            except ActorError as error:
                self._end_with(error)
                return
            with instance.busy(keeps_awake=False):
                await instance.admit(connection)
        except Exception as error:
            self._refuse(error, "on_before_connect")
            return
        self._generation = instance.generation
        instance.connections[connection.id] = connection
        if self._host.release.minor <= 1:
            connection._leave = lambda: instance.connections.pop(connection.id, None)
        try:
            await instance.welcome(connection)
        except Exception as error:
            instance.connections.pop(connection.id, None)
            self._refuse(error, "on_connect")
            return
        self._record(Connected, connection.id, connection.params)
        self._channel.send_message(self._codec.init(instance.ref.id, connection.id))
        try:
            while (data := await self._channel.receive_message()) is not None:
                await self._take(data)
        finally:
            instance.connections.pop(connection.id, None)
            channel = self._channel
            self._record(
                Disconnected, connection.id, channel.code, channel.reason, channel.by_client
            )
            self._host.tasks.start_soon(instance.part, connection)

    def _refuse(self, error: Exception, hook: str) -> None:
        """2.3 sends the error before it closes, 2.2 names it in the close frame, 2.0 its code."""
        release = self._host.release
        if isinstance(error, ActorError):
            seen = error
        else:
            logger.error("%s: %s failed", self._instance.ref, hook, exc_info=error)
            seen = internal_error(release)
            if release.has_engine:
                seen = ActorError(seen.group, seen.code, str(error))
        self._record(Refused, self.connection.params, seen.group, seen.code)
        if release.has_engine:
            self._channel.send_message(self._codec.error(seen, None))
        elif hook == "on_connect":
            self.connection.disconnect("`onConnect` failed")
            self._host.tasks.start_soon(self._instance.part, self.connection)
        reason = seen.code if release.minor == 0 else f"{seen.group}.{seen.code}"
        self._channel.close(1011, reason[:_REASON_BYTES])

    def _end_with(self, error: ActorError) -> None:
        """The actor is not there, or cannot start."""
        self._record(Refused, self.connection.params, error.group, error.code)
        release = self._host.release
        reason = error.code if release.minor == 0 else f"{error.group}.{error.code}"
        self._channel.close(1011, reason)

    async def _take(self, data: str | bytes) -> None:
        if not self._host.limits.lets_in(data):
            code = "incoming_too_long"
            self._channel.close(1011, code if self._host.release.minor == 0 else f"message.{code}")
            return
        try:
            message = self._codec.client_message(data)
        except ProtocolError:
            logger.warning("%s: a message that is none: %.200r", self._instance.ref, data)
            release = self._host.release
            said = internal_error(release)
            reason = said.code if release.minor == 0 else f"{said.group}.{said.code}"
            self._channel.close(1011, "actor.invalid_request" if release.has_engine else reason)
            return
        if self._host.release.is_serial:
            self._waiting.append(message)
            if not self._is_working:
                await begin(self._host.tasks, self._work_off)
        elif isinstance(message, SubscriptionRequest):
            await self._subscribe(message)
        else:
            await begin(self._host.tasks, partial(self._act, message))

    async def _work_off(self) -> None:
        self._is_working = True
        try:
            while self._waiting:
                await self._handle(self._waiting.popleft())
        finally:
            self._is_working = False

    async def _handle(self, message: ActionRequest | SubscriptionRequest) -> None:
        if isinstance(message, SubscriptionRequest):
            await self._subscribe(message)
        else:
            await self._act(message)

    async def _subscribe(self, message: SubscriptionRequest) -> None:
        if message.subscribe:
            try:
                await self._instance.admit_subscription(self.connection, message.name)
            except Exception as error:
                self._refuse_subscription(message.name, error)
                return
            self._subscriptions.add(message.name)
            self._record(Subscribed, self.connection.id, message.name)
        else:
            self._subscriptions.discard(message.name)
            self._record(Unsubscribed, self.connection.id, message.name)

    def _refuse_subscription(self, event: str, error: Exception) -> None:
        """2.3 closes the connection, those before it send an error that belongs to no call."""
        seen = failure(self._instance, f"can_subscribe of {event!r}", error)
        if self._host.release.has_engine:
            self._channel.close(1011, f"{seen.group}.{seen.code}"[:_REASON_BYTES])
        else:
            self._channel.send_message(self._codec.error(seen, None))

    async def _act(self, request: ActionRequest) -> None:
        instance = self._instance
        # In 2.0 it is the connection that keeps the actor awake, as long as that is there.
        with instance.busy(keeps_awake=self._host.release.minor >= 1):
            while True:
                deaths = self._host.deaths
                try:
                    answer = await self._answer(request, deaths)
                except ReplyLost:
                    self._channel.drop()
                    return
                except ActorError as away:
                    self._end_with(away)
                    return
                if answer is None:
                    return
                await self._host.heard()
                if deaths == self._host.deaths:
                    break
                # The gateway delivers it again: its host died before the answer had left.
            self._channel.send_message(answer)

    async def _answer(self, request: ActionRequest, deaths: int) -> bytes | str | None:
        """Run an action; what to answer, None where that has left.

        Args:
            request: The request.
            deaths: How often the host has died before.

        Raises:
            ReplyLost: break the connection off instead of answering.
            ActorError: close it: no host can run the actor.
        """
        instance, host = self._instance, self._host
        is_over = False

        def answer(output: Any) -> bytes | str | None:
            if is_over:  # too late
                return None
            written = self._codec.action_response(request.id, output)
            if not host.limits.lets_out(written):
                raise host.limits.outgoing_too_long()
            if host.is_silent or deaths != host.deaths:
                return written
            self._channel.send_message(written)
            return None

        try:
            self._check_life()
            plan = plan_action(host, instance, request.name, over_http=False)
            if plan.loses_request:
                raise ReplyLost
            written: bytes | str | None = await perform(
                host, instance, self.connection, request.name, request.args, plan, answer
            )
            return written
        except ReplyLost:
            raise
        except Exception as error:
            is_away = isinstance(error, ActorError) and is_scheduling(error)
            if is_away and host.is_down and not instance.is_awake:
                raise
            return self._failed(request, error)
        finally:
            is_over = True

    def _failed(self, request: ActionRequest, error: Exception) -> bytes | str:
        seen = failure(self._instance, request.name, error)
        try:
            return self._codec.error(seen, request.id)
        except TypeError:
            return self._codec.error(without_metadata(self._instance, seen), request.id)

    def _check_life(self) -> None:
        """2.1 and 2.2 leave connections open that lead to an actor which has stopped."""
        instance, release = self._instance, self._host.release
        if not release.is_serial or (instance.is_awake and instance.generation == self._generation):
            return
        if release.minor == 1:
            raise internal_error(release)
        raise ActorError("actor", "stopping", "Actor stopping: Actor has shut down")

    def _record(self, kind: Callable[..., Any], *fields: Any) -> None:
        self._host.log._append(kind(anyio.current_time(), self._instance.ref, *fields))


class ReplyLost(Exception):
    """The test wants the connection to break in place of an answer."""


def plan_action(host: Host, instance: Instance, name: str, *, over_http: bool) -> Plan:
    """What goes wrong with a call; nothing does with a probe."""
    if name == PROBE:
        return Plan()
    ref = instance.ref
    return host.faults._plan("action", name, ref.name, ref.key, over_http=over_http)


async def perform(
    host: Host,
    instance: Instance,
    connection: ActorConnection,
    name: str,
    args: list[Any],
    plan: Plan,
    answer: Callable[[Any], Any] | None = None,
) -> Any:
    """Run an action, with the faults that the test asked for; `answer` is as in `Instance.call`.

    Raises:
        ReplyLost: break the connection off instead of answering.
        Exception: what the client shall see, see `failure`.
    """
    if name == PROBE:
        await instance.ready()
        return await instance.call(connection, name, tuple(args))
    id = None if connection.is_http else connection.id
    host.log._append(ActionCalled(anyio.current_time(), instance.ref, name, tuple(args), id))
    if not connection.is_http:
        await instance.ready()
    if plan.error is not None:
        if plan.delay:
            await instance.hold_up(plan.delay)
        raise plan.error
    if plan.loses_reply:
        answer = None
    output = await instance.call(connection, name, tuple(args), plan.delay, answer)
    if plan.loses_reply:
        raise ReplyLost
    return output


def failure(instance: Instance, what: str, error: Exception) -> ActorError:
    """What the client sees of an exception; one that was not meant for it is logged."""
    if not isinstance(error, ActorError):
        logger.error("%s: %s failed", instance.ref, what, exc_info=error)
    seen = instance.signed(error)
    if what == PROBE:
        instance.note(f"answers a probe: {seen.group}.{seen.code}")
    else:
        instance.note(f"{what} failed: {shown(error)}")
    return seen


def without_metadata(instance: Instance, error: ActorError) -> ActorError:
    """What the client sees in place of an error whose metadata cannot travel."""
    text = "%s: the metadata of %s cannot travel: %r"
    logger.error(text, instance.ref, repr(error), error.metadata)
    if not instance.release.has_engine:
        return internal_error(instance.release)
    return instance.signed(ActorError("core", "internal_error", "An internal error occurred"))
