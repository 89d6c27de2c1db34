#!/bin/sh
# RivetKit runs this in place of its engine binary. The engine outlives the process that spawned
# it; what wants to end it finds its pid in this file (exec keeps the pid). RivetKit spawns another
# one when the first is too busy to answer; that ends by itself, and the pid of the first is kept.
if ! { [ -s "$TEST_SERVER_ENGINE_PID" ] && kill -0 "$(cat "$TEST_SERVER_ENGINE_PID")" 2>/dev/null; }
then
  echo "$$" > "$TEST_SERVER_ENGINE_PID"
fi
exec "$TEST_SERVER_ENGINE" "$@"
