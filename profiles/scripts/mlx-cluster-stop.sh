#!/bin/bash
# Ends the MLX server here and on the other nodes ($MLX_NODES, by ssh): TERM, 40 s, KILL, and whether it is gone.
# mlx.launch itself does not pass TERM on.
set -u
server="[m]lx_lm_server.*--port $SPECDASH_PORT( |$)"
everywhere() {
    pkill "-$1" -f "$server"
    for node in ${MLX_NODES:-}; do
        ssh -o BatchMode=yes -o ConnectTimeout=5 "$node" pkill "-$1" -f "'$server'"
    done
}
everywhere TERM
for _ in $(seq 400); do
    pgrep -f "$server" >/dev/null || break
    sleep 0.1
done
everywhere KILL
kill -TERM "$(cat "$MLX_PID_FILE")" 2>/dev/null
rm -f "$MLX_PID_FILE"
sleep 0.1
if pgrep -f "$server" >/dev/null; then
    echo "the server is still there"
    exit 1
fi
echo "stopped"
