"""The bugs, by the layer that they are in."""

from __future__ import annotations

from .mutation import Mutation

__all__ = ["MUTATIONS", "QUICK"]

QUICK = ("a call that is cancelled stays in flight", "control bits of a frame are not checked")
"""Two that are found in a moment: the ordinary tests look for them."""

_STARTS = "protocol/starts.py"
_VERDICTS = "protocol/verdicts.py"
_BARE = "protocol/bare_codec.py"
_STATE = "_connection/state.py"
_EVENTS = "_connection/events.py"
_WEBSOCKET = "_websocket/connection.py"
_FRAMER = "_websocket/rfc6455.py"
_POOL = "_http/pool.py"
_EXCHANGE = "_http/exchange.py"

_PROTOCOL = (
    Mutation(
        "a new start of the actor is not noticed",
        _STARTS,
        "return Change.RESTART if now.state",
        "return Change.NONE if now.state",
        "connection",
    ),
    Mutation(
        "the death of a host is not noticed",
        _STARTS,
        "return Change.DEATH",
        "return Change.NONE",
        "connection",
    ),
    Mutation(
        "an actor that stopped counts as one that failed",
        _VERDICTS,
        "return is_stopping(error) and error.actor is None",
        "return False",
        "connection",
    ),
    Mutation(
        "what an actor that is gone answers is final",
        _VERDICTS,
        '    if (group, code) == ("actor", "not_found") or is_destroyed(error):',
        "    if is_destroyed(error):",
        "simulation",
    ),
    Mutation(
        "the answer of a stopping actor counts as not run",
        _VERDICTS,
        '        ("actor", "starting"),\n',
        '        ("actor", "starting"),\n        ("actor", "stopping"),\n',
        "tests/protocol/test_management.py",
    ),
    Mutation(
        "an event does not say which dialect the server speaks",
        _BARE,
        "                self.dialect = dialect\n                return name, value",
        "                return name, value",
        "readings of bare",
    ),
    Mutation(
        "the short way reads lengths of one byte only",
        _BARE,
        "for shift in (7, 14, 21):",
        "for shift in (7, 7, 14):",
        "readings of bare",
    ),
    Mutation(
        "json to RivetKit 2.2 has another id",
        "protocol/json_codec.py",
        '"id": ["$BigInt", str(id)],',
        '"id": ["$BigInt", str(id + 1)],',
        "simulation",
    ),
    Mutation(
        "a subscription in bare encoding is its opposite",
        _BARE,
        "bare.text(name) + bare.boolean(subscribe)",
        "bare.text(name) + bare.boolean(not subscribe)",
        "client",
    ),
    Mutation(
        "large integers lose their marker",
        "protocol/values.py",
        'return ["$BigInt", str(value)]',
        "return str(value)",
        "values",
    ),
    Mutation(
        "lists that look like markers are not escaped",
        "protocol/values.py",
        'items[0] = "$" + first',
        "items[0] = first",
        "values",
    ),
    Mutation(
        "an empty part of a key vanishes",
        "protocol/keys.py",
        'parts.append("" if empty else part)\n            part, empty',
        "parts.append(char if empty else part)\n            part, empty",
        "keys",
    ),
    Mutation(
        "an event from before Init is lost",
        "protocol/session.py",
        "        self.early.append(data)",
        "        pass",
        "tests/protocol/test_messages.py",
    ),
    Mutation(
        "raw close without a code is a loss",
        "protocol/closes.py",
        "FINISHED: Final = (1000, 1001, NO_CODE)",
        "FINISHED: Final = (1000, 1001)",
        "errands",
    ),
    Mutation(
        "a queue's timeout is not sent in trees",
        "protocol/trees.py",
        "message if timeout_ms is None else {**message",
        "message if timeout_ms is not None else {**message",
        "errands",
    ),
    Mutation(
        "destroyed_at is sleeping_since",
        "protocol/management.py",
        "destroyed_at=_time(actor.destroy_ts)",
        "destroyed_at=_time(actor.sleep_ts)",
        "errands",
    ),
    Mutation(
        "a connection to another actor is taken",
        "protocol/session.py",
        "if self._actor_id not in (None, message.actor_id):",
        "if False:",
        "tests/peers/test_lies.py",
    ),
    Mutation(
        "an answer without an output is undefined",
        "protocol/trees.py",
        'if fields and "output" not in fields:',
        "if False:",
        "tests/peers/test_lies.py",
    ),
    Mutation(
        "an id of the management API leads elsewhere",
        "protocol/management.py",
        "        check_actor_id(actor.actor_id)\n",
        "        pass\n",
        "tests/protocol/test_management.py",
    ),
    Mutation(
        "params in a handshake keep their plus",
        "protocol/addressing.py",
        "f\"rivet_conn_params.{quote(params, safe='-_.~')}\"",
        "f\"rivet_conn_params.{quote(params, safe='-_.~+')}\"",
        "errands",
    ),
)

_CONNECTION = (
    Mutation(
        "only the first event name is subscribed again after a loss",
        _STATE,
        "        for name in self.sinks:\n            if name not in self._suspects:",
        "        for name in list(self.sinks)[:1]:\n            if name not in self._suspects:",
        "simulation",
    ),
    Mutation(
        "a call that is cancelled stays in flight",
        _STATE,
        "            self.in_flight.pop(call.id, None)\n            self._leave_stopped()",
        "            self._leave_stopped()",
        "connection",
    ),
    Mutation(
        "a call that is cancelled while it waits is sent",
        _STATE,
        "if not self.outbox.discard(call):",
        "if call in self.outbox.items or not self.outbox.discard(call):",
        "connection",
    ),
    Mutation(
        "calls leave before the subscriptions are confirmed",
        _STATE,
        "            self.outbox.is_paused = True\n",
        "",
        "connection",
    ),
    Mutation(
        "a gap begins when the connection is back",
        _STATE,
        "            self._lost_at = max(last_message, self._opened_at)",
        "            self._lost_at = max(last_message, self._opened_at) + 0.5",
        "simulation",
    ),
    Mutation(
        "the suspect under test is forgotten at a loss",
        _STATE,
        "            self._suspects[self._tested] = None\n            self._tested = None\n\n"
        "    def _lose_probe",
        "            self._tested = None\n\n    def _lose_probe",
        "connection",
    ),
    Mutation(
        "suspects are forgotten at a loss",
        _STATE,
        "        self._refusal = None\n        if self._tested is not None:",
        "        self._refusal = None\n        self._suspects.clear()\n"
        "        if self._tested is not None:",
        "connection",
    ),
    Mutation(
        "an answer that may hide a stop confirms subscriptions",
        _STATE,
        "        elif is_masking:\n            self._ask_whether_stopped()\n",
        "        elif is_masking:\n            self._ask_whether_stopped()\n"
        "            if call is not None and call.place > self._confirmed:\n"
        "                self._confirm(call.place)\n",
        "connection",
    ),
    Mutation(
        "a suspect is blamed for what left before a restart",
        _STATE,
        "        self._fence = self.subscribed\n        self._lose_probe()\n",
        "        self._confirmed, self._fence = self.subscribed, 0\n        self._lose_probe()\n",
        "connection",
    ),
    Mutation(
        "probes of before a restart confirm what came after it",
        _STATE,
        "id: call for id, call in self.in_flight.items() if not isinstance(call, Probe)",
        "id: call for id, call in self.in_flight.items()",
        "connection",
    ),
    Mutation(
        "backoff starts over at each loss",
        _STATE,
        "            if ended.healthy:\n                self.failures = 0",
        "            self.failures = 0",
        "connection",
    ),
    Mutation(
        "failures in a row are not counted",
        _STATE,
        "        self.failures += 1\n",
        "",
        "simulation",
    ),
    Mutation(
        "a full stream that was opened during a gap stops the reader",
        _STATE,
        "            buffer.begin_gap(buffer.since)\n",
        "            pass\n",
        "connection",
    ),
    Mutation(
        "the last waiter of the status is not woken",
        _STATE,
        "        changed, self.changed = self.changed, Signal()\n        changed.set()",
        "        self.changed = Signal()",
        "client",
    ),
    Mutation(
        "backoff has no bound",
        "_retry.py",
        "min(self.initial * 2.0 ** min(attempt, 60), self.maximum)",
        "self.initial * 2.0 ** min(attempt, 60)",
        "simulation",
    ),
    Mutation(
        "Retry-After has no bound",
        "_connection/outcome.py",
        "delay = max(delay, min(ended.retry_after, retry.maximum))",
        "delay = max(delay, 100 * ended.retry_after)",
        "simulation",
    ),
    Mutation(
        "the first message after Init is dropped",
        "_connection/receiving.py",
        "            state.reap()\n        message = self",
        "            state.reap()\n"
        "        if self._session.init is not None and not self.received:\n"
        "            self.received = True\n            return\n"
        "        message = self",
        "client",
    ),
    Mutation(
        "a stream that is full when its gap ends stops no reader",
        "_connection/receiving.py",
        "            return self._is_blocked()\n",
        "            return False\n",
        "tests/expected/test_gaps.py",
    ),
    Mutation(
        "an event goes to the first of two streams",
        "_connection/receiving.py",
        "            for sink in tuple(sinks):  # one that overflows leaves them",
        "            for sink in tuple(sinks)[:1]:",
        "client",
    ),
    Mutation(
        "a place for a handshake is lost with its waiter",
        "_connection/handshakes.py",
        "                handshake.end(None)\n            else:",
        "                pass\n            else:",
        "handshakes",
    ),
    Mutation(
        "slow handshakes take all places",
        "_connection/handshakes.py",
        "elif self._slow_waiting and self._slow < self._slow_limit:",
        "elif self._slow_waiting:",
        "handshakes",
    ),
    Mutation(
        "a gap is not merged with the gap before it",
        _EVENTS,
        "gap = _merged(self.items.pop(), gap)",
        "pass",
        "feed",
    ),
    Mutation(
        "dropping the oldest event drops its gap",
        _EVENTS,
        "            else:\n                _keep(kept, item)\n",
        "",
        "client",
    ),
    Mutation(
        "a full stream drops without counting",
        _EVENTS,
        '            elif self._overflow == "drop_newest":\n                self._count_drop()\n',
        '            elif self._overflow == "drop_newest":\n',
        "client",
    ),
    Mutation(
        "what is dropped in a gap stays counted as buffered",
        _EVENTS,
        "        self.event_count -= 1\n        self.byte_count -= size\n\n    def _free_in_gap",
        "        self.byte_count -= size\n\n    def _free_in_gap",
        "live",
    ),
    Mutation(
        "the leader of the checks hands over to nobody",
        "_gateway/checks.py",
        "            self._lead_by(next(reversed(self._asked)))",
        "            pass",
        "checks",
    ),
    Mutation(
        "a check says that messages came before it which came after",
        "_gateway/checks.py",
        "session.checked(actor, last_message)",
        "session.checked(actor, session.last_message)",
        "checks",
    ),
    Mutation(
        "bytes of raw messages that were taken still count",
        "_raw_websocket.py",
        "        self._bytes -= len(message)\n",
        "",
        "errands",
    ),
    Mutation(
        "the reason of a raw close frame is lost",
        "_raw_websocket.py",
        "return end.reason if isinstance(end, Close) else",
        "return '' if isinstance(end, Close) else",
        "errands",
    ),
    Mutation(
        "the bytes of a buffer have no bound",
        "_connection/events.py",
        "return self.event_count > 0 and self.byte_count + size > self._buffer_bytes",
        "return False",
        "buffers",
    ),
    Mutation(
        "a reader that paused is not woken",
        "_connection/events.py",
        "                self._notify_departure()\n        return item",
        "                pass\n        return item",
        "buffers",
    ),
    Mutation(
        "one call in flight of many hears of a loss",
        "_connection/state.py",
        "calls, self.in_flight = list(self.in_flight.values()), {}",
        "calls, self.in_flight = list(self.in_flight.values())[:1], {}",
        "simulation",
    ),
    Mutation(
        "a suspect is subscribed with all others",
        "_connection/state.py",
        "        for name in self.sinks:\n            if name not in self._suspects:",
        "        for name in self.sinks:\n            if True:",
        "connection",
    ),
    Mutation(
        "leaving says nothing to calls that wait",
        "_connection/state.py",
        "            if isinstance(item, ActionRequest):\n                item.fail(new_error())\n",
        "            pass\n",
        "simulation",
    ),
    Mutation(
        "a stream that ends keeps its subscription",
        "_connection/state.py",
        "        for name in self._remove(buffer):\n            self._request(name, False)",
        "        self._remove(buffer)",
        "connection",
    ),
    Mutation(
        "a gap begins before its stream was opened",
        _STATE,
        "buffer.begin_gap(max(lost_at, buffer.since))",
        "buffer.begin_gap(lost_at)",
        "connection",
    ),
    Mutation(
        "who gives up waiting for a subscription ends that of the others",
        "_connection/link.py",
        """            await self.state.changed.wait()
""",
        """            try:
                await self.state.changed.wait()
            except BaseException:
                for name in buffer.sinks:
                    self.state._request(name, False)
                raise
""",
        "race",
    ),
    Mutation(
        "a connection asks for its params once",
        "_connection/link.py",
        """                params=self._params,
                get_params=self._get_params,
                skip_ready_wait=self._skip_ready_wait,
""",
        """                params=vars(self).setdefault(
                    "kept", await self._get_params() if self._get_params else self._params
                ),
                get_params=None,
                skip_ready_wait=self._skip_ready_wait,
""",
        "race",
    ),
    Mutation(
        "a handshake that waited for its place counts as slow",
        "_connection/link.py",
        "        handshake = await handshakes.begin(slow=self._was_slow)\n"
        "        if observer is not None:\n"
        "            handshake.observer = observer.attempt()\n"
        "        began = self._backend.time()\n",
        "        began = self._backend.time()\n"
        "        handshake = await handshakes.begin(slow=self._was_slow)\n"
        "        if observer is not None:\n"
        "            handshake.observer = observer.attempt()\n",
        "tests/watch/test_feed.py::test_to_wait_for_a_place_makes_no_handshake_slow",
    ),
    Mutation(
        "the limit of a confirmation goes on after it",
        _STATE,
        "        self._socket.unlimit()\n",
        "",
        "connection",
    ),
    Mutation(
        "a gap after a loss forgets the restart before it",
        _STATE,
        "            self._lost_at = min(self._lost_at, self._start_seen)",
        "            pass",
        "connection",
    ),
    Mutation(
        "of too many status changes the newest is forgotten",
        "_connection/status.py",
        "            self._changes.popleft()\n            self.dropped += 1",
        "            self._changes.pop()\n            self.dropped += 1",
        "tests/connection/test_status.py",
    ),
    Mutation(
        "a stream that overflows hides an event from the next",
        "_connection/receiving.py",
        "            for sink in tuple(sinks):  # one that overflows leaves them",
        "            for sink in sinks:",
        "client",
    ),
    Mutation(
        "events from before Init come in the wrong order",
        "_connection/receiving.py",
        "self.message(self._early.pop(0))",
        "self.message(self._early.pop())",
        "client",
    ),
    Mutation(
        "a raw message whose send was cancelled is sent later",
        "_raw_websocket.py",
        "            self._unsettled.discard(message)\n            self._outbox.discard(message)\n",
        "            self._unsettled.discard(message)\n",
        "tests/peers/test_raw_streams.py",
    ),
    Mutation(
        "delays end early again and again",
        "_connection/link.py",
        "if self._is_away and not self._was_hurried:",
        "if self._is_away:",
        "tests/testing/test_backoffs.py",
    ),
    Mutation(
        "delays that end early ignore Retry-After",
        "_connection/outcome.py",
        " and self.retry_after is None",
        "",
        "tests/testing/test_backoffs.py",
    ),
    Mutation(
        "starts are compared where a connection breaks with its host",
        "_connection/link.py",
        "start=start if is_kept else None",
        "start=start",
        "tests/testing/test_dying_hosts.py",
    ),
    Mutation(
        "wait_connected looks once",
        "_connection/connection.py",
        "        while link.state.phase is not Phase.CONNECTED:",
        "        if link.state.phase is not Phase.CONNECTED:",
        "race",
    ),
)

_SOCKETS = (
    Mutation(
        "a cancelled caller passes its turn on to nobody",
        "_websocket/outbox.py",
        "        outbox.waiters.remove(waiter)\n        outbox.notify()\n        raise",
        "        outbox.waiters.remove(waiter)\n        raise",
        "outbox",
    ),
    Mutation(
        "a message that is taken back counts as waiting",
        "_websocket/outbox.py",
        "        del self._items[item]\n        self._bytes -= item.size\n",
        "        del self._items[item]\n",
        "outbox",
    ),
    Mutation(
        "a caller overtakes those who wait",
        "_websocket/outbox.py",
        "return self._bytes >= HIGH_WATER or bool(self._waiters)",
        "return self._bytes >= HIGH_WATER",
        "outbox",
    ),
    Mutation(
        "control bits of a frame are not checked",
        _FRAMER,
        "if first & 0x70:",
        "if first & 0x60:",
        "frames",
    ),
    Mutation(
        "text that is not UTF-8 is found at its end only",
        _FRAMER,
        "                self._text.decode(piece)\n",
        "                pass\n",
        "frames",
    ),
    Mutation(
        "a message of several frames loses its last byte",
        _FRAMER,
        "        pieces.write(piece)\n\n    def _put_together",
        "        pieces.write(piece[:-1] if self._is_last else piece)\n\n    def _put_together",
        "frames",
    ),
    Mutation(
        "pieces of a long message are masked from the wrong byte",
        _FRAMER,
        "size -= size % 4",
        "size -= size % 4 - 1",
        "writings",
    ),
    Mutation(
        "one ping is answered of two",
        _WEBSOCKET,
        "            self._control = [f for f in self._control if not isinstance(f, Pong)]\n"
        "            self._control.append(Pong(frame.payload))\n",
        "            if not self._control:\n"
        "                self._control.append(Pong(frame.payload))\n",
        "tests/conformance/test_connection.py",
    ),
    Mutation(
        "closing has no deadline",
        _WEBSOCKET,
        "        self._deadline = min(self._deadline, self._time() + seconds)\n",
        "        pass\n",
        "tests/scopes/test_outboxes.py",
    ),
    Mutation(
        "a silent peer has ten times as long",
        "_websocket/keepalive.py",
        "left = since + self.timeout - now",
        "left = since + 10 * self.timeout - now",
        "tests/scopes/test_keepalive.py",
    ),
    Mutation(
        "pings stop after the first",
        "_websocket/keepalive.py",
        "        self._queued -= count\n",
        "",
        "tests/scopes/test_keepalive.py",
    ),
    Mutation(
        "the rest of a write is written twice",
        _WEBSOCKET,
        "self._leave_to_writer(_Batch([frame[written:]], [item], 0, False))",
        "self._leave_to_writer(_Batch([frame], [item], 0, False))",
        "tests/peers/test_direct_writes.py",
    ),
    Mutation(
        "what came during a pause counts as just come",
        _WEBSOCKET,
        "            came = now if unread_since is None else unread_since\n",
        "            came = now\n",
        "tests/expected/test_gaps.py",
    ),
    Mutation(
        "what does not leave at once is forgotten",
        "_websocket/outbox.py",
        "            self._items = left\n",
        "            self._items = {}\n",
        "outbox",
    ),
    Mutation(
        "messages behind a ping give its answer time",
        "_websocket/keepalive.py",
        "min(confirmed, self._left_end)",
        "confirmed",
        "tests/scopes/test_keepalive.py",
    ),
    Mutation(
        "a confirmation lifts the end of a stopped actor's socket",
        _WEBSOCKET,
        "        if self.state is State.OPEN and not self._is_retired:\n"
        "            self._deadline = math.inf",
        "        if self.state is State.OPEN:\n            self._deadline = math.inf",
        "tests/connection/test_limits.py",
    ),
    Mutation(
        "a TLS write that was cut short is written from its beginning",
        "_io/tls.py",
        "            self._encrypted = encrypted[self._below.write_now(encrypted) :]",
        "            self._encrypted = encrypted\n"
        "            if self._below.write_now(encrypted) == len(encrypted):\n"
        '                self._encrypted = b""',
        "tests/backend/test_tls.py",
    ),
    Mutation(
        "a 101 with another accept is taken",
        "_websocket/handshake.py",
        'if headers.get("sec-websocket-accept") != accept:',
        "if False:",
        "tests/peers/test_misbehaving.py,tests/peers/test_refusals.py",
    ),
    Mutation(
        "a signal wakes the first waiter",
        "_io/waiting.py",
        "        for waiter in waiters or ():",
        "        for waiter in list(waiters or ())[:1]:",
        "client",
    ),
)

_GATEWAY = (
    Mutation(
        "a request that failed is shared with those who come later",
        "_gateway/shared.py",
        "            del self._under_way[key]\n",
        "            if request.succeeded:\n                del self._under_way[key]\n",
        "shared requests",
    ),
    Mutation(
        "who waited for a cancelled request is given nothing",
        "_gateway/shared.py",
        "        while (request := self._under_way.get(key)) is not None:",
        "        if (request := self._under_way.get(key)) is not None:",
        "shared requests",
    ),
    Mutation(
        "a stale id is kept",
        "_gateway/resolve.py",
        "        if not self.is_fixed and self._id == actor_id:\n            self._id = None",
        "        pass",
        "simulation",
    ),
    Mutation(
        "one request for the hosts asks for one actor",
        "_gateway/checks.py",
        "requests = -(-len(due) // _BATCH)",
        "requests = len(due) // _BATCH",
        "checks",
    ),
    Mutation(
        "retry_for begins anew at each attempt",
        "_gateway/repeats.py",
        "with anyio.CancelScope(deadline=deadline) as scope:",
        "with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:",
        "errands",
    ),
    Mutation(
        "a repeat waits beyond the end of retry_for",
        "_gateway/repeats.py",
        "is_late = anyio.current_time() + delay >= deadline",
        "is_late = anyio.current_time() >= deadline",
        "errands",
    ),
    Mutation(
        "what the actor refuses is repeated",
        "_gateway/repeats.py",
        "return is_destroyed(error) or is_of_engine or is_transient(error)",
        "return True",
        "errands",
    ),
    Mutation(
        "what was lost is not repeated",
        "_gateway/repeats.py",
        "return isinstance(error, TransportError)",
        "return False",
        "errands",
    ),
    Mutation(
        "a queue's timeout is cut to whole seconds",
        "_gateway/queues.py",
        "round(timeout * 1000)",
        "int(timeout) * 1000",
        "errands",
    ),
    Mutation(
        "who asks by an id that is gone asks again",
        "_gateway/call.py",
        "if target.is_fixed or not (",
        "if not (",
        "errands",
    ),
    Mutation(
        "an actor that is not ready is asked for an hour",
        "_gateway/attempts.py",
        "_MAX_ATTEMPTS = 10\n\n_MAX_SECONDS = 60.0",
        "_MAX_ATTEMPTS = 10_000\n\n_MAX_SECONDS = 3600.0",
        "errands",
    ),
    Mutation(
        "a listing of names ends after its first page",
        "_gateway/management.py",
        "        if cursor is None or len(names) == known:\n            return sorted(names)",
        "        return sorted(names)",
        "errands",
    ),
    Mutation(
        "a server that was forgotten while its token was asked for comes back",
        "_gateway/context.py",
        "            if known is None or known.codec is not server.codec:\n"
        "                return server.with_token(token)\n"
        "            self._server = changed = known.with_token(token)",
        "            self._server = changed = server.with_token(token)",
        "tests/test_tokens.py",
    ),
    Mutation(
        "an actor without a record is asked for at every look",
        "_gateway/checks.py",
        "                self._asked[session] = now\n"
        '                actor = found.get(session.actor_id or "")\n'
        "                if actor is not None:\n",
        '                actor = found.get(session.actor_id or "")\n'
        "                if actor is not None:\n"
        "                    self._asked[session] = now\n",
        "checks",
    ),
    Mutation(
        "a dial that failed while metadata was asked for goes unnoticed",
        "_gateway/context.py",
        "        self._failed_dials = before\n",
        "        self._failed_dials = self.http.failed_dials\n",
        "tests/peers/test_lookups.py",
    ),
    Mutation(
        "attempts have no end in time",
        "_gateway/attempts.py",
        "if self._count >= _MAX_ATTEMPTS or self._time() > self._until:",
        "if self._count >= _MAX_ATTEMPTS:",
        "tests/peers/test_repeats.py",
    ),
    Mutation(
        "an action that destroyed its actor runs once more",
        "_gateway/call.py",
        "may_run = once is not None or refusal.from_gateway or actor_id in error.message",
        "may_run = True",
        "tests/peers/test_repeats.py",
    ),
    Mutation(
        "all callers of one request raise one exception",
        "_gateway/shared.py",
        "                raise again(request.error)",
        "                raise request.error",
        "shared requests",
    ),
    Mutation(
        "the token goes to another host",
        "_gateway/context.py",
        "        keeps_secrets = self._forward_token or same_host(old.url, clean)",
        "        keeps_secrets = True",
        "tests/test_tokens.py,tests/peers/test_secrets.py",
    ),
    Mutation(
        "a connection waits on although another one has reached the server",
        "_gateway/backoffs.py",
        "            scope.cancel()",
        "            pass",
        "tests/testing/test_backoffs.py",
    ),
    Mutation(
        "ray ids of errors are lost",
        "_gateway/errors.py",
        "        return actor_error(body, ray_id, actor)",
        "        return actor_error(body, None, actor)",
        "errands",
    ),
    Mutation(
        "a new token forgets the version",
        "_gateway/server.py",
        "return Server(endpoint, self.headers, self.version, self.codec, asks_token=True)",
        "return Server(endpoint, self.headers, None, self.codec, asks_token=True)",
        "errands",
    ),
)

_HTTP = (
    Mutation(
        "a cancelled caller passes its socket on to nobody",
        _POOL,
        "            self._give_back(waiter.pooled, self._reap(), reusable=True)\n",
        "            pass\n",
        "pool",
    ),
    Mutation(
        "a cancelled dial is counted for ever",
        _POOL,
        "        elif waiter.dials:\n            self._dialling -= 1\n",
        "        elif waiter.dials:\n            pass\n",
        "pool",
    ),
    Mutation(
        "sockets from before a loss are used again",
        _POOL,
        "        for pooled in self._idle.pop(origin, ()):\n            self._drop(pooled)\n",
        "",
        "pool",
    ),
    Mutation(
        "an upgraded socket that ended is counted for ever",
        _POOL,
        "            self._detached.discard(pooled)\n            self._open -= 1\n",
        "            self._detached.discard(pooled)\n",
        "pool",
    ),
    Mutation(
        "a socket is reused although bytes came behind the answer",
        _EXCHANGE,
        "            is_framed\n            and is_last\n",
        "            is_framed\n",
        "exchange",
    ),
    Mutation(
        "a body that ends early is complete",
        _EXCHANGE,
        "        elif len(data) < self._to_read:\n            self._to_read -= len(data)\n",
        "        elif len(data) < self._to_read - 1:\n            self._to_read -= len(data)\n",
        "answers",
    ),
    Mutation(
        "a socket is reused before its request has left",
        _EXCHANGE,
        "            and self._is_complete\n            and self.head",
        "            and self.head",
        "exchange",
    ),
    Mutation(
        "chunks are counted in decimal",
        "_http/chunks.py",
        "size = int(line[1], 16)",
        "size = int(line[1], 16) if line[1].isalpha() else int(line[1], 16) & 0xFF",
        "answers",
    ),
    Mutation(
        "the plain reader takes two lengths",
        "_http/plain.py",
        'if name == b"content-length" and not length and _LENGTH',
        'if name == b"content-length" and _LENGTH',
        "answers",
    ),
    Mutation(
        "the plain reader takes a 101 with a length",
        "_http/plain.py",
        "        if _FRAMING.search(lower):\n            return None\n",
        "",
        "answers",
    ),
    Mutation(
        "a socket is used again whatever its answer says",
        "_http/wire.py",
        "reusable = self._is_sent and exchange.reusable",
        "reusable = exchange.reusable or self._is_sent",
        "errands",
    ),
    Mutation(
        "a server's keep-alive is read too long",
        "_http/pool.py",
        "seconds = min(seconds, keep_alive - 1)",
        "seconds = min(seconds, keep_alive + 1)",
        "pool",
    ),
    Mutation(
        "closing the pool forgets those who wait",
        "_http/pool.py",
        "        for waiter in queue:\n            waiter.wake()\n",
        "",
        "pool",
    ),
    Mutation(
        "handshakes wait behind requests",
        "_http/pool.py",
        "place = (waits_behind_others, next(self._numbers))",
        "place = (True, next(self._numbers))",
        "pool",
    ),
    Mutation(
        "a socket that broke while its request waited is used",
        _POOL,
        "            elif self._is_current(pooled) and pooled.stream.is_quiet():",
        "            elif True:",
        "pool",
    ),
    Mutation(
        "of two fields the last counts",
        "_http/headers.py",
        'f"{values[text]}, {new}" if text in values else new',
        "new",
        "tests/http/test_headers.py",
    ),
    Mutation(
        "the rest of a compressed piece is dropped",
        "_http/response.py",
        "            data, self._rest = data[: self._most], data[self._most :]",
        "            data = data[: self._most]",
        "errands",
    ),
)

_ABOVE = (
    Mutation(
        "old events are kept after their snapshot",
        "_live.py",
        "            if dropped != self._dropped:\n                self.wants_snapshot = True\n"
        "            else:\n                self._apply(name, value, None)\n            return",
        "            self._apply(name, value, None)\n            return",
        "live",
    ),
    Mutation(
        "what came before a snapshot is applied once more",
        "_live.py",
        "                stream._buffer.clear()\n",
        "",
        "simulation",
    ),
    Mutation(
        "a live state ignores gaps",
        "_live.py",
        '        """Events may be missing here."""\n        self.wants_snapshot = True\n',
        '        """Events may be missing here."""\n',
        "live",
    ),
    Mutation(
        "a live state keeps an early event over a gap",
        "_live.py",
        "        self._last = self._early = None\n",
        "        self._last = None\n",
        "live",
    ),
    Mutation(
        "a live state applies an event that it has",
        "_live.py",
        "if rises and version == self._version + 1:",
        "if rises and version >= self._version:",
        "live",
    ),
    Mutation(
        "a feed takes from one source until it is empty",
        "_watch.py",
        "                self._ready[source] = None\n            if item",
        "                self._ready[source] = None\n"
        "                self._ready.move_to_end(source, last=False)\n            if item",
        "feed",
    ),
    Mutation(
        "a source that has more is not asked again",
        "_watch.py",
        "            elif not source.waits():\n                self._ready[source] = None\n",
        "            else:\n                source._buffer.notify_of_arrival(source)\n",
        "feed",
    ),
    Mutation(
        "what a feed drops is reported once",
        "_watch.py",
        "            self._reported = buffer.dropped\n",
        "            self._reported = 1 << 30\n",
        "feed",
    ),
    Mutation(
        "a forwarded header that Connection names goes on",
        "_forward.py",
        'if name.lower() == "connection"',
        'if name == "connection"',
        "errands",
    ),
    Mutation(
        "a forwarded header hides behind an underscore",
        "_forward.py",
        'lower.replace("_", "-")',
        "lower",
        "errands",
    ),
    Mutation(
        "params are asked for once",
        "_handle.py",
        "            return params_json(await ask_params(self._get_params))",
        "            self._header_params = params_json(await ask_params(self._get_params))\n"
        "            self._get_params = None\n"
        "            return self._header_params",
        "errands",
    ),
    Mutation(
        "a live state is current while events wait",
        "_live.py",
        "            and not self._stream.buffered\n",
        "",
        "simulation",
    ),
    Mutation(
        "a live state is current while the connection is away",
        "_live.py",
        "            and self._link.state.change.status is Status.CONNECTED\n",
        "",
        "simulation",
    ),
    Mutation(
        "an iteration of a live state skips the next state",
        "_live.py",
        "while self._fold.number == number and not self._finished.is_set():",
        "while self._fold.number <= number + 1 and not self._finished.is_set():",
        "simulation",
    ),
    Mutation(
        "a source that was removed stays in the queue",
        "_watch.py",
        "        self._ready.pop(source, None)\n",
        "",
        "feed",
    ),
    Mutation(
        "the tasks of sources are not counted",
        "_watch.py",
        "self._tasks += 1",
        "self._tasks += 0",
        "feed",
    ),
    Mutation(
        "delays have no jitter",
        "_retry.py",
        "return bound * drawn",
        "return bound",
        "simulation",
    ),
    Mutation(
        "a POST is repeated without the gateway's own header",
        "_handle.py",
        "is_marked = failure.from_gateway and HEADER_ERROR in response.headers",
        "is_marked = failure.from_gateway",
        "errands",
    ),
    Mutation(
        "a list ends where a page begins with actors of the page before",
        "_client.py",
        "page.cursor is None or not fresh",
        "page.cursor is None or len(fresh) < len(page.actors)",
        "errands",
    ),
    Mutation(
        "a forwarded header stands in place of the client's own",
        "_handle.py",
        "None, None, options, ours_first=True)",
        "None, None, options)",
        "errands",
    ),
    Mutation(
        "a feed's source does not begin with a gap",
        "_watch.py",
        "        link.state.miss_events(self._backend.time())\n",
        "",
        "tests/watch/test_feed.py",
    ),
    Mutation(
        "the event between a snapshot and the next is lost",
        "_live.py",
        "        if early is not None and version is not None and early[2] == version + 1:",
        "        if False:",
        "tests/live/test_fold.py",
    ),
    Mutation(
        "a message counts as stored whatever the answer says",
        "_handle.py",
        "            reply = _read(answer, _load_reply, codec)\n            if not wait:\n"
        '                return QueueResult("completed")',
        '            if not wait:\n                return QueueResult("completed")\n'
        "            reply = _read(answer, _load_reply, codec)",
        "tests/peers/test_lies.py",
    ),
    Mutation(
        "an error has a peer's control characters",
        "_errors.py",
        "return on_one_line(super().__str__())",
        "return super().__str__()",
        "tests/test_errors.py,tests/peers/test_hostile_texts.py",
    ),
    Mutation(
        "the log has a peer's control characters",
        "_log.py",
        "logger.addFilter(_escape)",
        "",
        "tests/test_log.py,tests/peers/test_hostile_texts.py",
    ),
    Mutation(
        "typed queues take any body",
        "_typed/members.py",
        '        return self._plain(body, f"message for queue {self.server_name!r} '
        'of actor {actor!r}")',
        "        return body",
        "errands",
    ),
)

_TESTING = (
    Mutation(
        "the server in memory knows one subscription of a connection",
        "testing/_session.py",
        "self._subscriptions.add(message.name)",
        "self._subscriptions = {message.name}",
        "client",
    ),
    Mutation(
        "the server in memory handles the newest message first",
        "testing/_session.py",
        "self._waiting.append(message)",
        "self._waiting.appendleft(message)",
        "client",
    ),
    Mutation(
        "a lost answer leaves its connection open",
        "testing/_session.py",
        "                except ReplyLost:\n                    self._channel.drop()\n",
        "                except ReplyLost:\n",
        "tests/testing/test_faults.py",
    ),
    Mutation(
        "virtual time goes past the next deadline",
        "testing/_time.py",
        "            self.now = target\n",
        "            self.now = target + 0.25\n",
        "simulation",
    ),
    Mutation(
        "a message that was taken blocks its queue after a restart",
        "testing/_queue.py",
        "            message._mailbox = None\n        self._taken.clear()\n",
        "            message._mailbox = None\n",
        "tests/testing/test_strict.py",
    ),
    Mutation(
        "the saved state of an actor in memory runs ahead",
        "testing/_storage.py",
        "            self._due = max(now, self._saved_at + self._interval)",
        "            self._due = now",
        "tests/testing/test_server.py,tests/testing/test_strict.py",
    ),
    Mutation(
        "what is lost in a partition breaks no connection",
        "testing/_network.py",
        "            for wire in cut_off:\n                wire.drop()",
        "            pass",
        "tests/testing/test_networks.py",
    ),
)

MUTATIONS = (
    *_PROTOCOL,
    *_CONNECTION,
    *_SOCKETS,
    *_GATEWAY,
    *_HTTP,
    *_ABOVE,
    *_TESTING,
)
