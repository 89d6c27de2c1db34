import { actor, event, queue, setup, UserError } from "rivetkit";
import { buildActors, MAX_MESSAGE_BYTES, SAVE_INTERVAL_MS } from "./actors.mjs";
import { exitOnSigterm, holdLifeline } from "./lifeline.mjs";

holdLifeline();
exitOnSigterm(3 * SAVE_INTERVAL_MS);

setup({
  use: buildActors({ actor, UserError, queue, event }),
  managerHost: "127.0.0.1",
  managerPort: Number(process.env.TEST_SERVER_PORT),
  maxIncomingMessageSize: MAX_MESSAGE_BYTES,
  maxOutgoingMessageSize: MAX_MESSAGE_BYTES,
  noWelcome: true,
}).start();
