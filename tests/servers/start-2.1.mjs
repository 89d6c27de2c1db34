import { actor, event, queue, setup, UserError } from "rivetkit";
import { buildActors, messageLimits, SAVE_INTERVAL_MS } from "./actors.mjs";
import { exitOnSigterm, holdLifeline } from "./lifeline.mjs";

holdLifeline();
exitOnSigterm(3 * SAVE_INTERVAL_MS);

setup({
  use: buildActors({ actor, UserError, queue, event }),
  managerHost: "127.0.0.1",
  managerPort: Number(process.env.TEST_SERVER_PORT),
  ...messageLimits(),
  noWelcome: true,
}).start();
