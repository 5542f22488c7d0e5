#!/bin/bash
# Starts the fake cluster server in the background with these flags: a log, a pid file, and a wait for /health.
# CLUSTER_DIR is where both go; PORT is that of specdash, or 8080.
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=${CLUSTER_DIR:-.}
port=${SPECDASH_PORT:-8080}
pid_file=$dir/server.pid
if [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; then
    echo "already running, pid $(cat "$pid_file")"
    exit 1
fi
setsid=$(command -v setsid)
nohup $setsid "${PYTHON:-python3}" "$here/../mlx_cluster.py" --port "$port" --ranks 2 "$@" \
    >"$dir/server.log" 2>&1 </dev/null &
echo $! >"$pid_file"

# /health every 0.1 s, up to 60 s (the real scripts: every 5 s, up to 600 s).
for _ in $(seq 600); do
    if ! kill -0 "$(cat "$pid_file")" 2>/dev/null; then
        echo "the server ended while it was loading:"
        tail -5 "$dir/server.log"
        exit 1
    fi
    status=$( (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && head -1 <&3) 2>/dev/null)
    case $status in *" 200 "*) echo "ready"; exit 0 ;; esac
    sleep 0.1
done
echo "not ready after 60 s"
exit 1
