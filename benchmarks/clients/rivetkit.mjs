// The official JavaScript client. Arguments: the directory where it is installed.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const { createClient } = await import(
  pathToFileURL(join(process.argv[2], "node_modules/rivetkit/dist/tsup/client/mod.js")).href
);

const print = console.log;
console.log = console.info = console.warn = console.error = () => {};

async function measure(operations, work) {
  globalThis.gc?.();
  const cpu = process.cpuUsage();
  const begin = performance.now();
  await work();
  const wall = (performance.now() - begin) / 1000;
  const used = process.cpuUsage(cpu);
  return { operations, cpu: (used.user + used.system) / 1e6, wall };
}

async function connected(handle) {
  const conn = handle.connect();
  if (conn.connStatus !== "connected") {
    await new Promise((resolve) => conn.onOpen(resolve));
  }
  return conn;
}

async function calls(job, call, first = call) {
  const some = async (call, count) => {
    for (let i = 0; i < count; i++) await call();
  };
  const all = (call, count) =>
    Promise.all(Array.from({ length: job.fan }, () => some(call, count)));
  await all(first, 1);
  return measure(job.count, () => all(call, Math.floor(job.count / job.fan)));
}

async function withConnection(handle, work) {
  const conn = await connected(handle);
  try {
    return await work(conn);
  } finally {
    await conn.dispose();
  }
}

const workloads = {
  events: (job, handle) =>
    withConnection(handle, (conn) =>
      measure(job.count * job.fan, () =>
        Promise.all(
          Array.from(
            { length: job.fan },
            () =>
              new Promise((resolve) => {
                let left = job.count;
                conn.on(`burst-${job.count}-${job.size}`, () => {
                  if (--left === 0) resolve();
                });
              }),
          ),
        ),
      ),
    ),
  server_events: (job, handle) =>
    withConnection(handle, async (conn) => {
      let resolve;
      let left = job.count;
      const done = new Promise((r) => (resolve = r));
      conn.on("tick", () => {
        if (--left === 0) resolve();
      });
      return measure(job.count, async () => {
        await conn.emitMany("tick", job.count);
        await done;
      });
    }),
  actions: (job, handle) => withConnection(handle, (conn) => calls(job, () => conn.echo(7))),
  http: (job, handle) =>
    calls(job, () => handle.echo(7), () => handle[job.first || "echo"](7)),
  fetch: (job, handle) => {
    const get = async (path) => (await handle.fetch(path)).arrayBuffer();
    return calls(job, () => get("hello"), () => get(job.first || "hello"));
  },
  sends: (job, handle) => calls(job, () => handle.send("jobs", 7)),
  connect: (job, handle) => calls(job, async () => (await connected(handle)).dispose()),
  payload_out: (job, handle) => {
    const payload = new Uint8Array(job.size);
    return withConnection(handle, (conn) => calls(job, () => conn.echo(payload)));
  },
  async idle(job, handle) {
    const all = [await connected(handle)];
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < job.count; i++) all.push(await connected(handle));
    globalThis.gc?.();
    const kib = (process.memoryUsage().rss - before) / 1024 / job.count;
    await Promise.all(all.map((conn) => conn.dispose()));
    return { operations: job.count, kib };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  let answer;
  try {
    const client = createClient({ endpoint: job.url, encoding: job.encoding });
    const actor = job.workload === "sends" ? "worker" : "probe";
    answer = await workloads[job.workload](job, client[actor].getOrCreate([job.key]));
    await client.dispose();
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  print(JSON.stringify(answer));
}
process.exit(0);
