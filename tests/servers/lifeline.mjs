// Ends this server when the process that started it is gone, however that process ended.
//
// The parent holds the other end of standard input and never writes to it: end of file means that
// the parent is dead, and nobody is left to stop this process in an orderly way.
import { readFileSync, rmSync } from "node:fs";

export function holdLifeline() {
  process.stdin.on("end", endEverything);
  process.stdin.on("error", endEverything);
  process.stdin.resume();
}

// Exits on SIGTERM after what is still unsaved had the time to be saved. Not for versions that
// handle SIGTERM themselves.
export function exitOnSigterm(graceMs) {
  process.on("SIGTERM", () => setTimeout(() => process.exit(0), graceMs));
}

function endEverything() {
  try {
    process.kill(Number(readFileSync(process.env.TEST_SERVER_ENGINE_PID, "utf8")), "SIGKILL");
  } catch {
    // No engine: this version has none, or it is gone already.
  }
  rmSync(process.env.TEST_SERVER_DIRECTORY, { recursive: true, force: true, maxRetries: 5 });
  process.exit(1);
}
