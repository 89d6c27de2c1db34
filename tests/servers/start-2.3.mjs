// RivetKit starts its engine by itself; host, port and storage come from the environment.
import { actor, event, queue, setup, UserError } from "rivetkit";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { buildActors, messageLimits } from "./actors.mjs";
import { holdLifeline } from "./lifeline.mjs";

holdLifeline();

const require = createRequire(createRequire(import.meta.url).resolve("rivetkit"));
process.env.TEST_SERVER_ENGINE = require("@rivetkit/engine-cli").getEnginePath();
process.env.RIVET_ENGINE_BINARY = fileURLToPath(new URL("engine.sh", import.meta.url));

setup({
  use: buildActors({ actor, UserError, queue, event }),
  ...messageLimits(),
  noWelcome: true,
}).start();
