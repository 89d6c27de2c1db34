// A WebSocket server on npm's `ws`: echoes, or does as it is told.
//
// Arguments: a directory whose node_modules holds `ws`. Prints its port, and ends with its stdin.

import { createRequire } from "node:module";
import { join } from "node:path";

const { WebSocketServer } = createRequire(join(process.argv[2], "package.json"))("ws");

const MAX_MESSAGE = 64 * 1024 * 1024;

/** Who waits to hear how the socket of a number ended, or how it did. */
const ends = new Map();

function end(number) {
	if (!ends.has(number)) {
		const promise = {};
		promise.come = new Promise((resolve) => {
			promise.resolve = resolve;
		});
		ends.set(number, promise);
	}
	return ends.get(number);
}

function echo(socket) {
	socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
}

function obey(socket) {
	socket.on("pong", (payload) => socket.send(`pong ${payload.toString("hex")}`));
	socket.on("message", (data) => {
		const order = JSON.parse(data.toString());
		if (order.fragments !== undefined) {
			order.fragments.forEach((part, i) => {
				const fin = i === order.fragments.length - 1;
				const payload = order.binary ? Buffer.from(part) : part;
				socket.send(payload, { fin, binary: order.binary });
				if (order.pings) socket.ping(`${i}`);
			});
		}
		if (order.size !== undefined) {
			const bytes = Buffer.alloc(order.size, "x");
			socket.send(bytes, { binary: order.binary });
		}
		if (order.ping !== undefined) socket.ping(Buffer.from(order.ping, "hex"));
		if (order.pong !== undefined) socket.pong(Buffer.from(order.pong, "hex"));
		if (order.raw !== undefined) socket._socket.write(Buffer.from(order.raw, "hex"));
		if (order.close !== undefined) socket.close(...order.close);
		if (order.terminate) socket.terminate();
	});
}

const server = new WebSocketServer({
	host: "127.0.0.1",
	port: 0,
	maxPayload: MAX_MESSAGE,
	perMessageDeflate: false,
	handleProtocols: () => "rivet",
});

server.on("connection", (socket, request) => {
	const { pathname, searchParams } = new URL(request.url, "http://localhost");
	const task = pathname.split("/").at(-1);
	const number = searchParams.get("number");
	socket.on("error", () => {});
	if (task === "ends") {
		end(number).come.then((how) => socket.send(JSON.stringify(how)));
		return;
	}
	socket.on("close", (code, reason) => end(number).resolve([code, reason.toString()]));
	if (task === "echo") echo(socket);
	else obey(socket);
});

server.on("listening", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
