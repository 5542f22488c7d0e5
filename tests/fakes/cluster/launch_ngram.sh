#!/bin/bash
# N-gram speculation; K and the size of the n-gram come from specdash, and adaptive K is on unless it is switched off.
exec "$(dirname "$0")/start_server.sh" --no-ssd --kv-bits 0 --spec-decode ngram \
    --ngram-max "${SPECDASH_NGRAM_N:-4}" --num-speculative-tokens "${SPECDASH_K:-5}" "$@"
