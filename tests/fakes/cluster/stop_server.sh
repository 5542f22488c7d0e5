#!/bin/bash
# TERM, a wait, KILL, and whether it is gone; the pid file is removed last.
set -u
pid_file=${CLUSTER_DIR:-.}/server.pid
[ -f "$pid_file" ] || { echo "not running"; exit 0; }
pid=$(cat "$pid_file")
kill -TERM "$pid" 2>/dev/null
for _ in $(seq "${STOP_TENTHS:-100}"); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
done
kill -KILL "$pid" 2>/dev/null && echo "killed"
for _ in $(seq 20); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$pid_file"; echo "stopped"; exit 0; }
    sleep 0.1
done
echo "pid $pid is still there"
exit 1
