// The actors that every test server runs, whatever its RivetKit version.
//
// `parts` is what differs between versions: `actor` and `UserError` from that version's package,
// `queue` (undefined where actors have no queues yet) and `event` (undefined where an actor cannot
// refuse a subscription yet).

// State reaches the disk this soon after it changed. The lifeline waits longer than this before
// it ends a server, so that a graceful stop never loses anything.
export const SAVE_INTERVAL_MS = 50;

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export function messageLimits() {
  if (process.env.TEST_SERVER_DEFAULT_LIMITS) return {};
  return { maxIncomingMessageSize: MAX_MESSAGE_BYTES, maxOutgoingMessageSize: MAX_MESSAGE_BYTES };
}

const options = { stateSaveInterval: SAVE_INTERVAL_MS };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function buildActors({ actor, UserError, queue, event }) {
  return {
    instance: instance({ actor }),
    counter: counter({ actor }),
    chatRoom: chatRoom({ actor }),
    probe: probe({ actor, UserError }),
    guarded: guarded({ actor, UserError }),
    greeter: greeter({ actor }),
    presence: presence({ actor, UserError }),
    usher: usher({ actor }),
    flaky: flaky({ actor }),
    brokenStart: brokenStart({ actor }),
    limping: limping({ actor, UserError }),
    sleepy: sleepy({ actor }),
    web: web({ actor }),
    ledger: ledger({ actor }),
    gate: gate({ actor, UserError, event }),
    mimic: mimic({ actor }),
    odd: odd({ actor }),
    napper: napper({ actor }),
    nodder: nodder({ actor, queue }),
    tally: tally({ actor }),
    farewell: farewell({ actor }),
    quirk: quirk({ actor, UserError }),
    hasty: hasty({ actor, queue }),
    ...(queue
      ? {
          worker: worker({ actor, queue }),
          forgetful: forgetful({ actor, queue }),
          toiler: toiler({ actor, queue }),
        }
      : {}),
  };
}

// Tells one running server from another: who starts a server gives it a token of its own and
// knows by it that the process that answers on the port is the one it started.
function instance({ actor }) {
  return actor({
    options,
    actions: { token: () => process.env.TEST_SERVER_TOKEN ?? null },
  });
}

function counter({ actor }) {
  return actor({
    options,
    createState: (_c, input) => ({ count: input?.initial ?? 0 }),
    actions: {
      increment(c, by = 1) {
        c.state.count += by;
        c.broadcast("newCount", c.state.count);
        return c.state.count;
      },
      getCount: (c) => c.state.count,
      setCount(c, n) {
        c.state.count = n;
        c.broadcast("newCount", n);
        return n;
      },
    },
  });
}

function chatRoom({ actor }) {
  return actor({
    options,
    createState: () => ({ messages: [] }),
    actions: {
      sendMessage(c, text) {
        const message = { sender: c.conn.params?.name ?? "anonymous", text };
        c.state.messages.push(message);
        c.broadcast("message", message);
        return c.state.messages.length;
      },
      getHistory: (c) => c.state.messages,
    },
  });
}

function probe({ actor, UserError }) {
  return actor({
    options,
    createVars: () => ({ remembered: new Map() }),
    actions: {
      remember(c, name, v) {
        c.vars.remembered.set(name, v);
      },
      recall: (c, name) => c.vars.remembered.get(name),
      echo: (_c, v) => v,
      args: (_c, ...args) => args,
      describe: (_c, v) => describe(v),
      describeArgs: (_c, ...args) => args.map(describe),
      produce(_c, name) {
        if (!Object.hasOwn(PRODUCTS, name)) throw new UserError(`no product ${name}`);
        return PRODUCTS[name]();
      },
      emit(c, name, ...args) {
        c.broadcast(name, ...args);
      },
      emitProduct(c, name, product) {
        c.broadcast(name, PRODUCTS[product]());
      },
      emitMany(c, name, n, start = 0) {
        for (let i = start; i < start + n; i++) c.broadcast(name, i);
        return n;
      },
      async slow(_c, ms, v) {
        await sleep(ms);
        return v;
      },
      fail(_c, kind, detail) {
        if (kind === "plain") throw new Error("boom");
        if (kind === "unicode") {
          throw new UserError("zu groß: 日本語 🚀", { code: "unicode_code", metadata: { detail } });
        }
        if (kind === "bare") throw new UserError("only a message");
        throw new UserError("message text", { code: "my_code", metadata: { detail } });
      },
      conns: (c) => c.conns.size,
      kickOthers(c, reason) {
        for (const conn of [...c.conns.values()]) {
          if (conn.id !== c.conn.id) conn.disconnect(reason);
        }
        return c.conns.size;
      },
      connParams: (c) => c.conn.params,
      connId: (c) => c.conn.id,
      whoami: (c) => ({ actorId: c.actorId, name: c.name, key: c.key }),
      kick: (c, reason) => c.conn.disconnect(reason),
      async kickAll(c, reason) {
        await Promise.all([...c.conns.values()].map((conn) => conn.disconnect(reason)));
      },
      destroy: (c) => c.destroy(),
      sleepNow: (c) => c.sleep(),
      "math.add": (_c, a, b) => a + b,
    },
  });
}

function guarded({ actor, UserError }) {
  return actor({
    options,
    onBeforeConnect(_c, params) {
      if (params?.token !== "secret") {
        throw new UserError("not allowed", { code: "forbidden", metadata: { need: "secret" } });
      }
    },
    createConnState: (_c, params) => ({ user: params?.user ?? null }),
    actions: { me: (c) => ({ params: c.conn.params, state: c.conn.state }) },
  });
}

// Greets whoever connects, before the client has heard anything else. Up to 2.2 a connection
// cannot be sent to that early: `send` throws, and the connection is refused.
function greeter({ actor }) {
  return actor({
    options,
    createConnState: (_c, params) => ({ name: params?.name ?? "stranger" }),
    onConnect(c, conn) {
      for (let number = 1; number <= (conn.params?.greetings ?? 1); number++) {
        conn.send("welcome", { name: conn.state.name, number, connections: c.conns.size });
      }
    },
    actions: {
      who: (c) => c.conn.state.name,
      greet: (c) => c.conn.send("welcome", { name: c.conn.state.name, number: 0 }),
      kick: (c) => c.conn.disconnect("kicked"),
    },
  });
}

// Notes every hook of every connection, calls over HTTP included, in order, and tells everybody
// who comes and goes. `params.refuse` names the hook that refuses, `params.broken` one that fails,
// `params.destroys` and `params.sleeps` one that ends the actor.
function presence({ actor, UserError }) {
  const note = (c, hook, params) => {
    c.state.hooks.push(`${hook} ${params?.name ?? "-"}`);
    if (params?.broken === hook) throw new Error(`${hook} is broken`);
    if (params?.destroys === hook) c.destroy();
    if (params?.sleeps === hook) c.sleep();
    if (params?.refuse === hook) {
      throw new UserError(`refused by ${hook}`, { code: "refused", metadata: { hook } });
    }
  };
  return actor({
    options,
    createState: () => ({ hooks: [] }),
    onBeforeConnect: (c, params) => note(c, "onBeforeConnect", params),
    createConnState(c, params) {
      note(c, "createConnState", params);
      return { name: params?.name ?? "-" };
    },
    onConnect(c, conn) {
      note(c, "onConnect", conn.params);
      c.broadcast("came", conn.state.name);
    },
    onDisconnect(c, conn) {
      note(c, "onDisconnect", conn.params);
      c.broadcast("went", conn.state.name);
    },
    onRequest(c) {
      note(c, "onRequest", { name: "guest" });
      return new Response(String(c.conns.size));
    },
    onWebSocket(c, ws) {
      note(c, "onWebSocket", { name: "guest" });
      ws.addEventListener("message", () => ws.send(String(c.conns.size)));
    },
    actions: {
      kick: (c) => c.conn.disconnect("kicked"),
      kickTwice(c) {
        for (const conn of [...c.conns.values()]) {
          if (conn.state.name !== "guest") continue;
          conn.disconnect("one");
          conn.disconnect("two");
        }
      },
      hooks: (c) => c.state.hooks,
      names: (c) => [...c.conns.values()].map((conn) => conn.state.name).sort(),
    },
  });
}

// Takes its time in the hook that `params.slow` names, and notes when that begins and ends.
function usher({ actor }) {
  const take = async (c, hook) => {
    c.state.noted.push(`${hook} begins`);
    await sleep(1000);
    c.state.noted.push(`${hook} ends`);
  };
  return actor({
    options,
    createState: () => ({ noted: [], total: 0, starts: 0 }),
    onWake(c) {
      c.state.starts += 1;
    },
    onBeforeConnect(c, params) {
      if (params?.slow === "onBeforeConnect") return take(c, "onBeforeConnect");
    },
    async createConnState(c, params) {
      if (params?.slow === "createConnState") await take(c, "createConnState");
      return "state" in (params ?? {}) ? (params.state ?? undefined) : { kept: true };
    },
    onConnect(c, conn) {
      if (conn.params?.closes) conn.disconnect("enough");
      if (conn.params?.slow === "onConnect") return take(c, "onConnect");
    },
    actions: {
      count: (c) => c.conns.size,
      noted: (c) => c.state.noted,
      state: (c) => c.conn.state ?? null,
      starts: (c) => c.state.starts,
      total: (c) => c.state.total,
      async addSlowly(c) {
        c.state.total += 1;
        await sleep(1000);
        c.state.total += 10;
        return "added";
      },
      sleepNow: (c) => c.sleep(),
    },
  });
}

function flaky({ actor }) {
  return actor({
    options,
    onBeforeConnect() {
      throw new Error("broken hook");
    },
    actions: { ping: () => "pong" },
  });
}

function brokenStart({ actor }) {
  return actor({
    options,
    createState() {
      throw new Error("cannot start");
    },
    actions: { ping: () => "pong" },
  });
}

// Fails to start so often, in the hook that its input names.
function limping({ actor, UserError }) {
  const left = new Map();
  const limp = ({ name, where, how, times }, hook) => {
    if (where !== hook) return;
    const now = left.get(name) ?? times;
    left.set(name, now - 1);
    if (now > 0) throw how === "user" ? new UserError("cannot start", { code: "limps" }) : new Error();
  };
  return actor({
    options,
    createState(_c, input) {
      limp(input, "create");
      return { wakes: 0, input };
    },
    onWake(c) {
      c.state.wakes += 1;
      limp(c.state.input, "wake");
    },
    actions: { woken: (c) => c.state.wakes },
  });
}

function sleepy({ actor }) {
  return actor({
    options,
    createState: () => ({ wakes: 0 }),
    async onWake(c) {
      await sleep(300);
      c.state.wakes += 1;
    },
    actions: {
      wakes: (c) => c.state.wakes,
      sleepNow: (c) => c.sleep(),
    },
  });
}

function web({ actor }) {
  return actor({
    options,
    async onRequest(_c, request) {
      const url = new URL(request.url);
      const [, route, argument] = url.pathname.split("/");
      switch (route) {
        case "echo":
          return Response.json({
            method: request.method,
            path: url.pathname,
            search: url.search,
            headers: Object.fromEntries(request.headers),
            body: await request.text(),
          });
        case "status":
          return new Response(`status ${argument}`, { status: Number(argument) });
        case "bytes":
          return new Response(pattern(Number(argument)), {
            headers: { "content-type": "application/octet-stream" },
          });
        case "stream":
          return new Response(chunks(5), { headers: { "content-type": "text/plain" } });
        case "login":
          return new Response("welcome", { headers: { "set-cookie": "session=own; Path=/" } });
        case "fields": {
          const headers = new Headers();
          for (const name of ["set-cookie", "x-two"]) {
            headers.append(name, "a=1");
            headers.append(name, "b=2");
          }
          return new Response("fields", { headers });
        }
        case "empty":
          return new Response(null);
        case "plain":
          return new Response("plain", { headers: { "x-own": "\u00e9" } });
        case "nothing":
          return undefined;
        case "text":
          return "no response";
        case "upload":
          return Response.json({ bytes: (await request.arrayBuffer()).byteLength });
        default:
          return new Response("no such route", { status: 404 });
      }
    },
    onWebSocket(c, ws) {
      // Up to 2.2 the URL is the one on the wire, from 2.3 on it begins at the actor; what the
      // client asked for is the same in both: what follows "/websocket".
      const url = c.request ? new URL(c.request.url) : null;
      if (url?.pathname.endsWith("/broken")) throw new Error("broken");
      const path = url?.pathname.replace(/^.*?\/websocket(?=\/|$)/, "");
      const hello = JSON.stringify({ hello: url && path + url.search });
      if (ws.readyState === 1) ws.send(hello);
      else ws.addEventListener("open", () => ws.send(hello));

      ws.addEventListener("message", ({ data }) => {
        if (typeof data !== "string") {
          ws.send(data);
          return;
        }
        const [command, argument, ...rest] = data.split(":");
        if (command === "close") ws.close(Number(argument), rest.join(":"));
        else if (command === "kick") {
          for (const conn of c.conns.values()) conn.disconnect(argument);
        } else if (command === "many") {
          for (let i = 0; i < Number(argument); i++) ws.send(String(i));
        } else if (command === "bigbin") ws.send(pattern(Number(argument)));
        else ws.send(data);
      });
    },
    actions: { destroy: (c) => c.destroy(), sleepNow: (c) => c.sleep() },
  });
}

// A log whose entries are on the disk before the caller hears of them, so that a test may kill
// the server at any moment and count what was acknowledged.
function ledger({ actor }) {
  // One after another: 2.3 runs actions side by side, and events shall come in the log's order.
  const append = (c, id) => {
    const turn = c.vars.last.then(async () => {
      c.state.log.push(id);
      const seq = c.state.log.length;
      await c.saveState({ immediate: true });
      c.broadcast("appended", id, seq);
      return seq;
    });
    c.vars.last = turn.catch(() => {});
    return turn;
  };
  return actor({
    options,
    createState: () => ({ log: [] }),
    createVars: () => ({ last: Promise.resolve() }),
    actions: {
      append,
      async appendSlow(c, id, ms) {
        await sleep(ms);
        return await append(c, id);
      },
      log: (c) => c.state.log,
    },
  });
}

// Some of its events may not be subscribed by everybody: `params.refuse` names those.
function gate({ actor, UserError, event }) {
  const guarded = (name) =>
    event({
      canSubscribe(c) {
        const params = c.conn.params;
        if (params?.broken === name) throw new Error("broken");
        if (params?.fail === name) throw new UserError("no", { code: "no_" + name });
        return !params?.refuse?.includes(name);
      },
    });
  const slow = event?.({
    async canSubscribe() {
      await sleep(300);
      return true;
    },
  });
  return actor({
    options,
    ...(event ? { events: { a: guarded("a"), b: guarded("b"), c: guarded("c"), slow } } : {}),
    actions: {
      echo: (_c, v) => v,
      emit(c, name, ...args) {
        c.broadcast(name, ...args);
      },
      async slow(_c, ms, v) {
        await sleep(ms);
        return v;
      },
      async kickAll(c, reason) {
        await Promise.all([...c.conns.values()].map((conn) => conn.disconnect(reason)));
      },
      async kickOthers(c, reason) {
        const others = [...c.conns.values()].filter((conn) => conn.id !== c.conn.id);
        await Promise.all(others.map((conn) => conn.disconnect(reason)));
      },
    },
  });
}

// Its own code answers with errors of the group and code that it is asked for, as an actor does
// that passes on what another actor or a gateway said. `runs` counts what ran, by label.
function mimic({ actor }) {
  const runs = new Map();
  const run = ({ label, group, code, message = "passed on" }) => {
    runs.set(label, (runs.get(label) ?? 0) + 1);
    const known = { __type: "ActorError", public: true, statusCode: 400 };
    return Object.assign(new Error(message), { ...known, group, code });
  };
  return actor({
    options,
    createState(_c, input) {
      if (input?.label) throw run(input);
      return {};
    },
    onBeforeConnect(_c, params) {
      if (params?.label) throw run(params);
    },
    onRequest(_c, request) {
      const [, label, group, code] = new URL(request.url).pathname.split("/");
      const { message } = run({ label, group, code });
      return Response.json({ group, code, message, metadata: null }, { status: 404 });
    },
    actions: {
      runs: (_c, label) => runs.get(label) ?? 0,
      raise(_c, what) {
        throw run(what);
      },
      destroyAndRaise(c, what) {
        c.destroy();
        throw run(what);
      },
    },
  });
}

// What cannot travel or cannot be saved, what is too long, and what runs later.
function odd({ actor }) {
  return actor({
    options,
    createState: () => ({ noted: [], kept: null }),
    createVars: () => ({ calls: 0, woke: "-" }),
    onWake(c) {
      try {
        c.broadcast("woke");
        c.vars.woke = "sent";
      } catch {
        c.vars.woke = "raised";
      }
    },
    actions: {
      woke: (c) => c.vars.woke,
      endTwice(c, first, second) {
        for (const how of [first, second]) c[how]();
        return "twice";
      },
      _under: () => "under",
      broadcastBad(c) {
        c.broadcast("bad", () => 1);
        return "broadcast";
      },
      sendBad(c) {
        c.conn.send("bad", () => 1);
        return "sent";
      },
      returnBad: () => ({ nested: [() => 1] }),
      keepBad(c) {
        c.state.kept = [() => 1];
        return "kept";
      },
      big: (_c, n) => "x".repeat(n),
      bigEvent(c, n) {
        c.broadcast("big", "x".repeat(n));
        return "sent";
      },
      length: (_c, text) => text.length,
      calls: (c) => ++c.vars.calls,
      sleepNow: (c) => c.sleep(),
      async later(c, ms, what) {
        await c.schedule.after(ms, "note", what);
      },
      async laterAt(c, ms, what) {
        await c.schedule.at(Date.now() + ms, "note", what);
      },
      note(c, what) {
        c.state.noted.push([what, c.conns.size]);
      },
      noted: (c) => c.state.noted,
    },
  });
}

// Sleeps by itself after a second, and notes it.
function napper({ actor }) {
  return actor({
    options: { ...options, sleepTimeout: 1000 },
    createState: () => ({ noted: [] }),
    onWake: (c) => c.state.noted.push("wake"),
    onSleep: (c) => c.state.noted.push("sleep"),
    actions: {
      noted: (c) => c.state.noted,
      async slow(c, ms) {
        await sleep(ms);
        return c.state.noted;
      },
      async later(c, ms) {
        await c.schedule.after(ms, "note");
      },
      note(c) {
        c.state.noted.push("note");
      },
    },
  });
}

// What actors have in common that sleep by themselves after two seconds, and note when that was.
function drowsy() {
  const note = (c, what) => c.state.noted.push([what, Date.now()]);
  return {
    options: { ...options, sleepTimeout: 2000 },
    createState: () => ({ noted: [] }),
    onWake: (c) => note(c, "wake"),
    onSleep: (c) => note(c, "sleep"),
    actions: {
      now: () => Date.now(),
      noted: (c) => c.state.noted,
      work: (_c, ms) => sleep(ms),
      fail() {
        throw new Error("broken");
      },
      async later(c, after, ms) {
        await c.schedule.after(after, "work", ms);
      },
    },
  };
}

function nodder({ actor, queue }) {
  return actor({
    ...drowsy(),
    ...(queue ? { queues: { jobs: queue() } } : {}),
    onBeforeConnect(_c, params) {
      if (params?.refuse) throw new Error("refused");
    },
    async onDisconnect(_c, conn) {
      if (conn.params?.parts) await sleep(conn.params.parts);
    },
    async onRequest(_c, request) {
      await sleep(Number(new URL(request.url).searchParams.get("ms")));
      return new Response("late");
    },
    onWebSocket(_c, ws) {
      ws.addEventListener("message", async ({ data }) => {
        ws.send(data);
        await sleep(Number(data));
      });
    },
  });
}

// As `nodder`, and it works off messages.
function toiler({ actor, queue }) {
  return actor({
    ...drowsy(),
    queues: { jobs: queue() },
    async run(c) {
      for await (const message of c.queue.iter({ names: ["jobs"], completable: true })) {
        await sleep(message.body);
        await message.complete("done");
      }
    },
  });
}

// Saves once in ten minutes, or when it is told to.
function tally({ actor }) {
  return actor({
    options: { stateSaveInterval: 600_000 },
    createState: () => ({ count: 0 }),
    actions: {
      increment: (c) => ++c.state.count,
      async save(c) {
        await c.saveState({ immediate: true });
      },
    },
  });
}

// Says goodbye when it ends, to whoever can still hear that.
function farewell({ actor }) {
  const sends = (c) => {
    try {
      c.broadcast("late");
      return true;
    } catch {
      return false;
    }
  };
  return actor({
    options,
    createVars: () => ({ start: Math.random(), destroys: false }),
    createState: () => ({ kept: null }),
    onSleep(c) {
      if (c.vars.destroys) c.destroy();
      c.broadcast("bye", "sleep");
    },
    onDestroy: (c) => c.broadcast("bye", "destroy"),
    actions: {
      start: (c) => c.vars.start,
      keep: (c, value) => (c.state.kept = value),
      kept: (c) => c.state.kept,
      endInOnSleep(c) {
        c.vars.destroys = true;
        c.sleep();
      },
      end(c, how) {
        if (how === "sleep") c.sleep();
        else c.destroy();
      },
      async linger(c) {
        c.sleep();
        const sent = [sends(c)];
        await sleep(500);
        return [...sent, sends(c)];
      },
    },
  });
}

// Errors of all kinds, and calls that are under way until the actor is told to end.
function quirk({ actor, UserError }) {
  return actor({
    options,
    createState: () => ({ count: 0 }),
    createVars: () => {
      const vars = { waiting: 0 };
      vars.ending = new Promise((resolve) => (vars.end = resolve));
      return vars;
    },
    actions: {
      raise(_c, metadata) {
        throw new UserError("text", { code: "code", metadata });
      },
      bump(c, fails) {
        c.state.count += 1;
        if (fails) throw new Error("broken");
        return c.state.count;
      },
      async wait(c) {
        c.vars.waiting += 1;
        await c.vars.ending;
        await sleep(1000);
        return "answered";
      },
      waiting: (c) => c.vars.waiting,
      end(c, how) {
        if (how === "sleep") c.sleep();
        else c.destroy();
        c.vars.end();
      },
    },
  });
}

// Gives up on an action after a moment.
function hasty({ actor, queue }) {
  return actor({
    options: { ...options, actionTimeout: 300 },
    ...(queue ? { queues: { jobs: queue() } } : {}),
    async onRequest() {
      await sleep(600);
      return new Response("late");
    },
    createState: () => ({ ended: 0 }),
    actions: {
      slow: () => sleep(600),
      async late(c) {
        await sleep(600);
        c.state.ended += 1;
      },
      async later(c) {
        await c.schedule.after(10, "late");
      },
      ended: (c) => c.state.ended,
    },
  });
}

// Completes every message but "never", and "bad" with what cannot travel.
function forgetful({ actor, queue }) {
  return actor({
    options,
    createState: () => ({ taken: [] }),
    queues: { jobs: queue() },
    async run(c) {
      for await (const message of c.queue.iter({ names: ["jobs"], completable: true })) {
        c.state.taken.push(message.body);
        await c.saveState({ immediate: true });
        if (message.body === "bad") await message.complete(() => 1);
        else if (message.body !== "never") await message.complete("done");
      }
    },
    actions: {
      taken: (c) => c.state.taken,
      sleepNow: (c) => c.sleep(),
    },
  });
}

function worker({ actor, queue }) {
  return actor({
    options: { ...options, maxQueueMessageSize: MAX_MESSAGE_BYTES },
    createState: () => ({ processed: [] }),
    // Nobody ever takes anything from `stuck`.
    queues: { jobs: queue(), stuck: queue() },
    async run(c) {
      for await (const message of c.queue.iter({ names: ["jobs"], completable: true })) {
        c.state.processed.push(message.body);
        await message.complete({ done: message.body });
      }
    },
    actions: { processed: (c) => c.state.processed },
  });
}

const PRODUCTS = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  int: () => 5,
  negint: () => -5,
  float: () => 1.5,
  big53: () => 2 ** 53,
  over32: () => 2 ** 32 + 5,
  negover32: () => -(2 ** 32) - 5,
  bigint: () => 10n ** 20n,
  smallBigint: () => 7n,
  negBigint: () => -(10n ** 20n),
  uint8: () => new Uint8Array([0, 1, 2, 254, 255]),
  arraybuffer: () => new Uint8Array([3, 4, 5]).buffer,
  date: () => new Date("2020-01-02T03:04:05.678Z"),
  map: () => new Map([[1, "one"], [true, "yes"], ["text", { a: 1 }]]),
  set: () => new Set([1, "two", 3]),
  nested: () => ({ list: [1, { deep: [null, "x"] }], bytes: new Uint8Array([9]), big: 2n ** 70n }),
  dollarArray: () => ["$BigInt", "5"],
  dollarArray2: () => ["$x", 1],
  nan: () => NaN,
  infinity: () => Infinity,
  negInfinity: () => -Infinity,
  negZero: () => -0,
  unicode: () => "zu groß: 日本語 🚀",
  emptyString: () => "",
  emptyArray: () => [],
  emptyObject: () => ({}),
  undefinedInObject: () => ({ a: undefined, b: 1 }),
  undefinedInArray: () => [1, undefined, 2],
};

// What a value is on the JavaScript side, so exactly that no two different values look alike.
function describe(v) {
  if (v === null || v === undefined) return String(v);
  if (typeof v === "string") return `string:${JSON.stringify(v)}`;
  if (typeof v === "number") return `number:${Object.is(v, -0) ? "-0" : v}`;
  if (typeof v !== "object") return `${typeof v}:${String(v)}`;
  if (v instanceof Date) return `Date:${Number.isNaN(v.getTime()) ? "invalid" : v.toISOString()}`;
  if (v instanceof ArrayBuffer) return `ArrayBuffer:[${new Uint8Array(v).join(",")}]`;
  // A Buffer is a Uint8Array too; which of the two arrives depends on the decoder alone.
  if (v instanceof Uint8Array) return `Uint8Array:[${Array.from(v).join(",")}]`;
  if (ArrayBuffer.isView(v)) return `${v.constructor.name}:[${Array.from(v).join(",")}]`;
  if (Array.isArray(v)) return `[${Array.from(v, describe).join(",")}]`;
  if (v instanceof Set) return `Set{${[...v].map(describe).join(",")}}`;
  if (v instanceof Map) {
    return `Map{${[...v].map(([k, item]) => `${describe(k)}=>${describe(item)}`).join(",")}}`;
  }
  const type = Object.getPrototypeOf(v)?.constructor?.name ?? "Object";
  const entries = Object.entries(v).map(([k, item]) => `${JSON.stringify(k)}:${describe(item)}`);
  return `${type === "Object" ? "" : type}{${entries.join(",")}}`;
}

// Byte i is i mod 251: a prime, so that no block size of anybody's hides a shifted copy.
function pattern(size) {
  return Uint8Array.from({ length: size }, (_, i) => i % 251);
}

function chunks(count) {
  return new ReadableStream({
    async start(controller) {
      for (let i = 0; i < count; i++) {
        controller.enqueue(new TextEncoder().encode(`chunk ${i}\n`));
        await sleep(20);
      }
      controller.close();
    },
  });
}
