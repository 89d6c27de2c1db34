// RivetKit's own server listens on every interface, so it is served from here instead.
import { serve } from "@hono/node-server";
import { createNodeWebSocket } from "@hono/node-ws";
import { Hono } from "hono";
import { actor, setup, UserError } from "rivetkit";
import { buildActors, messageLimits, SAVE_INTERVAL_MS } from "./actors.mjs";
import { exitOnSigterm, holdLifeline } from "./lifeline.mjs";

// This version leaves a rejected promise behind when an actor fails to start.
process.on("unhandledRejection", (error) => console.error("unhandled rejection:", error));

holdLifeline();
exitOnSigterm(3 * SAVE_INTERVAL_MS);

const app = new Hono();
const { injectWebSocket, upgradeWebSocket } = createNodeWebSocket({ app });
const registry = setup({ use: buildActors({ actor, UserError }) });
const { fetch } = registry.start({
  disableDefaultServer: true,
  getUpgradeWebSocket: () => upgradeWebSocket,
  ...messageLimits(),
  noWelcome: true,
});
app.all("*", (c) => fetch(c.req.raw, c.env));
injectWebSocket(
  serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.TEST_SERVER_PORT) }),
);
