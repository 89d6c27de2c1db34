// RivetKit's own client reads what another client stored, and stores values of every kind.
//
//   node exchange.mjs ENDPOINT KEY SEED
//
// Prints two JSON lines: what it read, and what it stored, by kind.

import { createClient } from "rivetkit/client";

const [endpoint, key, seed] = process.argv.slice(2);
const client = createClient({ endpoint, encoding: "bare" });

// mulberry32
let state = Number(seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (n) => Math.floor(random() * n);
const view = new DataView(new ArrayBuffer(8));

// What a value is, in the words of test_exchange.py.
function describe(v) {
  if (v === null || v === undefined) return "null";
  if (typeof v === "boolean") return String(v);
  if (typeof v === "number") {
    view.setFloat64(0, Number.isNaN(v) ? NaN : v);
    return `number ${view.getBigUint64(0).toString(16).padStart(16, "0")}`;
  }
  if (typeof v === "bigint") return `bigint ${v}`;
  if (typeof v === "string") return `string ${Buffer.from(v).toString("hex")}`;
  if (v instanceof Date) return `date ${v.getTime()}`;
  if (v instanceof ArrayBuffer) return describe(new Uint8Array(v));
  if (v instanceof Uint8Array) return `bytes ${Buffer.from(v).toString("hex")}`;
  if (v instanceof Set) return ["set", ...inOrder([...v].map(describe))];
  if (v instanceof Map) return ["map", ...inOrder([...v].map((pair) => pair.map(describe)))];
  if (Array.isArray(v)) return ["array", ...v.map(describe)];
  return ["object", ...inOrder(Object.entries(v).map((pair) => pair.map(describe)))];
}

function inOrder(items) {
  const texts = items.map((item) => JSON.stringify(item)).sort();
  return texts.map((text) => JSON.parse(text));
}

function text() {
  let made = "";
  for (let i = below(6); i > 0; i--) {
    const point = below([0x80, 0x800, 0x10000, 0x110000][below(4)]);
    if (point < 0xd800 || point > 0xdfff) made += String.fromCodePoint(point);
  }
  return made;
}

function float() {
  view.setUint32(0, below(2 ** 32));
  view.setUint32(4, below(2 ** 32));
  const any = view.getFloat64(0);
  return [random(), (random() - 0.5) * 2e6, Number.isFinite(any) ? any : 1e300][below(3)] || 1;
}

const integer = () => (below(2 ** 31) * 2 ** 22 + below(2 ** 22)) * (below(2) ? 1 : -1) || 1;
const bytes = () => Uint8Array.from({ length: below(40) }, () => below(256));
const bigint = () => (2n ** 64n + BigInt(integer())) ** BigInt(1 + below(4)) * (below(2) ? 1n : -1n);
const date = () => new Date(below(4e12) - 1e12);
const plain = () => [float, integer, text, () => null, () => below(2) === 1][below(5)]();

function nested(depth) {
  if (depth === 0) return plain();
  const items = Array.from({ length: below(4) }, () => nested(depth - 1));
  return below(2) ? items : Object.fromEntries(items.map((item) => [`k${text()}`, item]));
}

const many = (make, count = 40) => Array.from({ length: count }, make);
const stored = {
  floats: many(float, 200),
  integers: many(integer, 100),
  small: many(() => below(2 ** 33) - 2 ** 32, 50),
  large: many(() => integer() * 2 ** below(60), 100),
  bigints: many(bigint),
  texts: many(text),
  bytes: many(bytes),
  nested: many(() => nested(3)),
  markers: [["$BigInt", "5"], ["$x", 1], ["$$Set", [1]], ["$Uint8Array", "AQ=="]],
  sets: many(() => new Set([integer(), text(), bigint()]), 10),
  dates: many(date),
  maps: many(() => new Map([[integer(), text()], [text(), [float()]], [null, date()]]), 10),
  odd: [NaN, Infinity, -Infinity],
};

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const theirs = await client.probe.getOrCreate([key]).recall("python");
print(describe(theirs));
for (const [kind, items] of Object.entries(stored)) {
  await client.probe.getOrCreate([key]).remember(kind, items);
}
print(Object.fromEntries(Object.entries(stored).map(([kind, items]) => [kind, describe(items)])));
await client.dispose();
process.exit(0);
