// Typed as the actors of tests/servers/actors.mjs behave, and one actor with types of every kind.

import { actor, event, queue, setup } from "rivetkit";

interface Message {
	sender: string;
	text: string;
}

type Circle = { kind: "circle"; radius: number };
type Square = { kind: "square"; sideLength: number };
type Shape = Circle | Square;

interface Tree {
	value: number;
	children: Tree[];
}

enum Level {
	Low = "low",
	High = "high",
}

type Page<T> = { items: T[]; nextPage?: number };
type UserId = string & { readonly __brand: "UserId" };
type Json = string | number | Json[];

interface Everything {
	theNumber: number;
	theBigint: bigint;
	theDate: Date;
	theBytes: Uint8Array;
	theMap: Map<number, string>;
	theSet: Set<string>;
	theRecord: Record<string, Message>;
	thePair: [string, number];
	theLevel: Level;
	theId: UserId;
	theUnion: string | number[] | null;
	theChoice: "a" | "b" | 3;
	anything: unknown;
	endless: Json;
	maybe?: boolean;
	maybeNull?: Message | null;
	URL: string;
	class: string;
	"odd-name"?: string;
	undecidable: Message | Tree;
	moment: Date | string;
	method(): void;
}

const counter = actor({
	createState: (_c, input: { initial: number }): { count: number } => ({ count: input.initial }),
	events: { newCount: event<number>() },
	actions: {
		increment(c, by: number = 1): number {
			c.state.count += by;
			c.broadcast("newCount", c.state.count);
			return c.state.count;
		},
		/** The count, as it is now. */
		getCount: (c): number => c.state.count,
		setCount: async (c, n: number) => {
			c.state.count = n;
			return n;
		},
	},
});

const chatRoom = actor({
	state: { messages: [] as Message[] },
	createConnState: (_c, _params: { name: string }) => ({}),
	events: { message: event<Message>() },
	actions: {
		sendMessage: (c, text: string) => {
			c.state.messages.push({ sender: "", text });
			return c.state.messages.length;
		},
		getHistory: (c) => c.state.messages,
	},
});

const probe = actor({
	state: {},
	events: { pair: event<[string, number]>(), nothing: event<[]>() },
	actions: {
		echo: (_c, value: Shape): Shape => value,
		args: (_c, ...args: number[]) => args,
		emit(c, name: string, ...args: unknown[]) {
			(c.broadcast as (name: string, ...args: unknown[]) => void)(name, ...args);
		},
		async slow(_c, ms: number, value?: string) {
			return value;
		},
		"math.add": (_c, a: number, b: number) => a + b,
	},
});

const worker = actor({
	state: {},
	queues: { jobs: queue<Message, { done: Message }>(), stuck: queue<string>() },
	actions: { processed: (_c): Message[] => [] },
});

const shapes = actor({
	state: {},
	actions: {
		everything: (_c, value: Everything): Page<Everything> => ({ items: [value] }),
		tree: (_c, { value }: Tree, options: { depth?: number; level: Level } | null) => [value, options],
		send: (c, kind: "a" | "b" = "a", retry = false, label: string | null = null) => {
			c.broadcast("sent", kind);
			c.broadcast("moved", 1, { label, retry });
		},
		fail: (_c): never => {
			throw new Error();
		},
		resolve: async (_c, from: string, self: number) => new Error(`${from}${self}`),
	},
});

export const registry = setup({ use: { counter, chatRoom, probe, worker, shapes } });
