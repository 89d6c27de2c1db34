// RivetKit's own client, run against a server whose URL is given: every call, connections, events.
//
//   node clients.mjs ENDPOINT ENCODING VERSION
//
// Prints one JSON line for every step: its name and what came back.

import { createClient } from "rivetkit/client";

const [endpoint, encoding, version] = process.argv.slice(2);
const minor = Number(version.split(".")[1]);
const prefix = `js ${encoding}`;
const client = createClient({ endpoint, encoding });

const plain = (_key, value) => {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Uint8Array) return { bytes: Array.from(value) };
  if (value instanceof ArrayBuffer) return { bytes: Array.from(new Uint8Array(value)) };
  return value;
};

const say = (step, result) =>
  process.stdout.write(`${JSON.stringify([step, result ?? null], plain)}\n`);

const late = (ms) => new Promise((resolve) => setTimeout(resolve, ms, "late").unref?.());

async function step(name, run) {
  try {
    say(name, await Promise.race([run(), late(10_000)]));
  } catch (error) {
    say(name, { error: [error.group ?? null, error.code ?? null, error.metadata ?? null] });
  }
}

// A promise, and a way to wait for the n-th call of a listener.
function heard() {
  const items = [];
  let wake = () => {};
  return {
    listener: (...args) => {
      items.push(args);
      wake();
    },
    async take(count) {
      while (items.length < count) await new Promise((resolve) => { wake = resolve; });
      return items.splice(0, count);
    },
  };
}

const counter = client.counter.getOrCreate([prefix, "a/b"], { createWithInput: { initial: 5 } });
await step("increment", () => counter.increment(3));
await step("getCount", () => counter.getCount());
await step("get", () => client.counter.get([prefix, "a/b"]).getCount());
await step("resolve", async () => (await counter.resolve()) === (await counter.resolve()));
await step("create", async () => {
  const created = await client.counter.create([prefix, "created"], { input: { initial: 7 } });
  return await created.getCount();
});
await step("create twice", () => client.counter.create([prefix, "created"]));
await step("by id", async () =>
  client.counter.getForId("counter", await counter.resolve())?.getCount?.() ??
  client.getForId("counter", await counter.resolve()).getCount());

const probe = client.probe.getOrCreate([prefix], { params: { name: "Zoë", n: 1 } });
const values = [null, true, 0, -1, 2 ** 31, 2 ** 53, 1.5, "ü ☃", [], {}, [1, [{ a: [null] }]]];
for (const value of values) await step(`echo ${JSON.stringify(value)}`, () => probe.echo(value));
await step("echo bigint", () => probe.echo(10n ** 20n));
await step("args", () => probe.args(1, "b", [2]));
await step("dotted", () => probe.action({ name: "math.add", args: [2, 3] }));
await step("params", () => probe.connParams());
for (const kind of ["user", "plain", "bare"]) await step(`fail ${kind}`, () => probe.fail(kind, [1]));
await step("unknown action", () => probe.noSuchAction());

const conn = probe.connect();
await step("connection echo", () => conn.echo("over a connection"));
await step("connection params", () => conn.connParams());
await step("connection fail", () => conn.fail("user", { a: 1 }));
await step("connection id", async () => (await conn.connId()) === (conn.connId ?? conn.connectionId));
const numbers = heard();
const off = conn.on("numbers", numbers.listener);
await step("emitMany", () => conn.emitMany("numbers", 5));
await step("numbers", () => numbers.take(5));
await step("emit", () => conn.emit("numbers", "one", { two: [2] }));
await step("event with two", () => numbers.take(1));
off();
const once = heard();
conn.once("once", once.listener);
await step("emit once", () => conn.emit("once", 1));
await step("once", () => once.take(1));
const other = probe.connect();
const both = heard();
other.on("both", both.listener);
await step("other is there", () => other.echo("here"));
await step("emit by http", () => probe.emit("both", "hello"));
await step("both", () => both.take(1));
await step("connections", () => conn.conns());
await other.dispose();
const kicked = heard();
conn.on("after", kicked.listener);
await step("kick", () => probe.kickAll("out"));
// A call that is under way while the connection breaks may never be settled by older clients.
await step("reconnected", async () => {
  for (;;) {
    try {
      if ((await Promise.race([conn.echo("back"), late(500)])) === "back") return "back";
    } catch {}
  }
});
await step("emit after", () => conn.emit("after", 1));
await step("resubscribed", () => kicked.take(1));
await conn.dispose();

await step("refused", () => client.guarded.getOrCreate([prefix], { params: { token: "x" } }).me());
const guarded = client.guarded.getOrCreate([prefix], { params: { token: "secret", user: "u" } });
await step("let in", () => guarded.me());
const guardedConnection = guarded.connect();
await step("let in on a connection", () => guardedConnection.me());
await guardedConnection.dispose();

if (minor >= 1) {
  const worker = client.worker.getOrCreate([prefix]);
  await step("send", () => worker.send("jobs", { n: 1 }));
  await step("send and wait", () => worker.send("jobs", 2, { wait: true, timeout: 10_000 }));
  await step("nobody", () => worker.send("stuck", 3, { wait: true, timeout: 100 }));
  await step("processed", () => worker.processed());
}

const web = client.web.getOrCreate([prefix]);
await step("fetch", async () => {
  const response = await web.fetch("/echo/a?x=1", { method: "POST", body: "hi" });
  const { method, path, search, body } = await response.json();
  return [response.status, method, path, search, body];
});
await step("fetch 404", async () => (await web.fetch("status/404")).status);
await step("stream", async () => await (await web.fetch("stream")).text());
await step("websocket", async () => {
  const socket = await (minor === 0 ? web.websocket("/chat?room=1") : web.webSocket("/chat?room=1"));
  const messages = heard();
  socket.addEventListener("message", ({ data }) => messages.listener(data));
  const [[hello]] = await messages.take(1);
  socket.send("text");
  const [[text]] = await messages.take(1);
  const closed = new Promise((resolve) => {
    socket.addEventListener("close", ({ code, reason }) => resolve([code, reason]));
  });
  socket.send("close:4001:done");
  return [hello, text, await closed];
});

await step("destroy", () => client.probe.getOrCreate([prefix, "gone"]).destroy());
await client.dispose();
process.exit(0);
