import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

const [cert, key, ca, seconds, version] = process.argv.slice(2);

const paths = {
	plain: (_, res) => res.setHeader("Content-Length", "5").end("hello"),
	chunks: async (_, res) => {
		for (const piece of ["one", "two", "three"]) {
			res.write(piece);
			await new Promise(setImmediate);
		}
		res.end();
	},
	large: (_, res) => res.end(Buffer.alloc(8 << 20, "x")),
	echo: (req, res) => req.pipe(res),
	length: async (req, res) => {
		let length = 0;
		for await (const piece of req) length += piece.length;
		res.end(String(length));
	},
	early: (_, res) => res.writeHead(413, { Connection: "close" }).end("too long"),
	empty: (_, res) => res.writeHead(204).end(),
	same: (_, res) => res.writeHead(304).end(),
	port: (req, res) => res.end(String(req.socket.remotePort)),
	cut: (_, res) => {
		res.writeHead(200, { "Content-Length": "100" });
		res.write("0123456789", () => res.destroy());
	},
	// Only here
	protocol: (req, res) => res.end(req.socket.getProtocol()),
	idle: (_, res) => res.end("ok", () => setImmediate(() => server.closeIdleConnections())),
	ended: (req) => req.socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart"),
	truncated: (req) =>
		req.socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart", () =>
			req.socket.destroy(),
		),
};

function handle(req, res) {
	paths[req.url.split("/").pop()](req, res);
}

const options = { keepAliveTimeout: Number(seconds) * 1000 };
const server = cert
	? https.createServer(
			{
				...options,
				cert: readFileSync(cert),
				key: readFileSync(key),
				...(ca && { ca: readFileSync(ca), requestCert: true, rejectUnauthorized: true }),
				...(version && { minVersion: version, maxVersion: version }),
			},
			handle,
		)
	: http.createServer(options, handle);
server.keepAliveTimeout = Number(seconds) * 1000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();
