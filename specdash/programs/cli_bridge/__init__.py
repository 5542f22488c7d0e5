"""A small HTTP server that runs one command-line program for each request: the "server" of the engine llama-cli.

Run as `python -m specdash.programs.cli_bridge --port N --alias NAME [--need FILE]… -- PROGRAM ARG…`; standard library
only. The command after `--` is a template: requests fill in the words `{k}`, `{n}`, `{temp}`, `{seed}`, `{prompt}` and
`{images}` and nothing else, so that whoever reaches the port of this machine can ask for a generation, as from any
server, and can run nothing.

It loads nothing at its start: it checks that the files can be read and that the program answers --help, then listens
on 127.0.0.1. Exit code 1, with the reason on stderr, where that fails; 0 after TERM or INT.

GET /health, GET /v1/models (the alias) and GET /state (what is running). POST /run with a JSON object: `limit_s`,
`prompt`, `images`, and the numbers `k`, `n`, `temp`, `seed`, as far as the template has them. One program runs at a
time, in a process group of its own; further requests wait. The answer is an event stream:

    {"out": text, "t_ms": …}    for each read of the program's stdout; t_ms is the time since its start
    {"exit": code|null, "signal": number|null, "limit": true where limit_s had passed, "stderr": text, "t_ms": …,
     "dropped": bytes of stdout that were too many to pass on, "model": alias}    the last event

A client that hangs up ends its program. Both outputs are always read, so a program never waits for us, and what it
writes is bounded wherever we keep it: in the stream, in the last event, and in the log (our stderr), which gets the
beginning and the end of it. The prompt is an unlinked file that the program opens as /dev/fd/N: it has no limit of
length, is in no list of processes, and leaves nothing behind.
"""
