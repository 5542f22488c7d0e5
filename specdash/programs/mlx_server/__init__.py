"""The program `specdash-mlx`: a small MLX server that tells what llama-server tells.

Run as `PYTHON -I FOLDER FLAGS`, FOLDER being this one. It stands alone (standard library, mlx and mlx_lm; its modules
import each other and nothing else of specdash), because PYTHON may belong to another environment, in which specdash is
not installed. The stock `mlx_lm.server` reports neither times nor drafted tokens; this one drives the same functions
(`generate_step` and `speculative_generate_step`, which mlx_lm's `stream_generate` consists of) and speaks
llama-server's protocol: /health, /v1/models, /slots, /completion with cumulative `timings` in every event, /tokenize,
/detokenize, /apply-template.

What its figures mean:

- The first token is the prompt's: it ends `prompt_ms`, and `predicted_ms` counts from there. mlx_lm by itself drafts
  already together with the last token of the prompt; here target and draft process the whole prompt first, so that
  every draft belongs to a verification step, as in llama-server. Text and later steps are the same.
- mlx_lm drafts exactly min(K, tokens still to make) tokens in a step, and marks each token that came from the draft;
  a step ends with the first one that did not. `draft_n` and `draft_n_accepted` are the sums of that. All tokens of a
  step are known at once: their events carry the counters and the time of its end.
- K (`speculative.n_max`) holds for one request; 0 decodes without the draft, as a server without one does.
- Nothing is kept between requests, whatever `cache_prompt` says: `cache_n` is always 0.

One request is served at a time, on the main thread, since arrays and streams of mlx belong to the thread that made
them; others wait. A request whose client is gone ends at its next step. TERM and INT end the process at once.

Exit code 1, with one line on stderr, for flags, models or a port that cannot be used.
"""
