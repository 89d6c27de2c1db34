#!/bin/sh
# RivetKit runs this in place of its engine binary. The engine outlives the process that spawned
# it; what wants to end it finds its pid in this file (exec keeps the pid).
echo "$$" > "$TEST_SERVER_ENGINE_PID"
exec "$TEST_SERVER_ENGINE" "$@"
