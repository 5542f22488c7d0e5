#!/bin/bash
# llama-server over RPC workers; the arguments are the server's own. The workers of $RPC_WORKERS run already; without any,
# one is started here for each port of $RPC_PORTS. specdash ends them with the server, since all are processes of one tree.
set -u
workers=${RPC_WORKERS:-}
if [ -z "$workers" ]; then
    for port in ${RPC_PORTS:-50052 50053}; do
        ggml-rpc-server -H 127.0.0.1 -p "$port" &
        workers="$workers 127.0.0.1:$port"
    done
    for worker in $workers; do  # a server that finds no worker ends at once
        for _ in $(seq 100); do
            (exec 3<>"/dev/tcp/${worker%:*}/${worker#*:}") 2>/dev/null && break
            sleep 0.1
        done
    done
fi
exec llama-server --rpc "$(echo $workers | tr ' ' ',')" --host 127.0.0.1 -np 1 --metrics "$@"
