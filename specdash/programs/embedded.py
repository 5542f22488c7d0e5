"""llama.cpp's own server from the `xllamacpp` wheel, behind the command line of the program llama-server.

Run as `PYTHON -I embedded.py FLAGS`. It stands alone (standard library and xllamacpp), because PYTHON may belong to
another environment, with another xllamacpp, in which specdash is not installed. It takes llama-server's flags and
sets the same parameters as the program does, no more: a draft model without `--spec-type` is loaded and never used
there, and so it is here. Which flags exist is read off the wheel: `--help` lists exactly those, in llama-server's
layout, so that whoever reads the help of the program can read this one.

Exit codes as the program's: 1 for a flag, model or port that cannot be used, 0 after TERM or INT. While a model loads
the wheel holds the interpreter, so those signals then end the process at once by their default action, as they end
the program.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

HELP_COLUMN = 40
HELP_WIDTH = 70
ENUM_PREFIXES = {
    "ggml_type": "GGML_TYPE_",
    "llama_flash_attn_type": "LLAMA_FLASH_ATTN_TYPE_",
    "llama_load_mode": "LLAMA_LOAD_MODE_",
    "ggml_numa_strategy": "GGML_NUMA_STRATEGY_",
    "llama_split_mode": "LLAMA_SPLIT_MODE_",
    "common_speculative_type": "COMMON_SPECULATIVE_TYPE_",
}
ENUM_WORDS = {"on": "enabled", "off": "disabled", "mmap+mlock": "mmap_mlock", "dio": "direct_io"}
SPEC_TYPES = (
    "none,draft-simple,draft-eagle3,draft-mtp,draft-dflash,draft-dspark,"
    "ngram-simple,ngram-map-k,ngram-map-k4v,ngram-mod,ngram-cache"
)
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

# Flags that llama-server has and the wheel has no way to set: telling them from typing errors saves a search.
UNSETTABLE = """
    -C --cpu-mask -Cr --cpu-range --cpu-strict -Cb --cpu-mask-batch -Crb --cpu-range-batch --no-perf --perf
    --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor
    --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast -nr --repack --no-repack --rpc --lazy-mode -dev --device
    --list-devices -cmoe --cpu-moe -ncmoe --n-cpu-moe -ts --tensor-split -fitt --fit-target --override-kv
    --op-offload --no-op-offload --lora --lora-scaled --control-vector --control-vector-scaled
    --control-vector-layer-range -mu --model-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -hft --hf-token
    --log-disable --log-file --log-colors --samplers --sampler-seq --top-k --top-p --min-p --repeat-penalty
    --grammar --grammar-file -j --json-schema -lcs --lookup-cache-static -lcd --lookup-cache-dynamic
    -mm --mmproj -mmu --mmproj-url --embedding --embeddings --rerank --reranking --pooling --api-key-file
    --ssl-key-file --ssl-cert-file --chat-template-file --reasoning-format --reasoning-budget --slot-save-path
    --models-dir --models-preset --spec-draft-hf -hfd -hfrd --hf-repo-draft -devd --device-draft --spec-draft-device
    -otd --override-tensor-draft --spec-draft-override-tensor -cmoed --cpu-moe-draft --spec-draft-cpu-moe
    -ncmoed --n-cpu-moe-draft --spec-draft-n-cpu-moe --spec-synth-len --spec-synth-rates --spec-default
    --spec-draft-sampling --spec-draft-n-ubatch"""


class EmbeddedServerError(Exception):
    """A command line that cannot be used; the message is what the user reads."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: `names` on, `off` switches it off; `attr` is the dotted path in xllamacpp's CommonParams.

    `parse` turns the value into what the attribute takes; None makes it a switch. `enum` names the xllamacpp
    enumeration that the parsed word belongs to. A flag exists where its attribute does.
    """

    names: str
    hint: str
    attr: str
    parse: Callable[[str], Any] | None
    help: str
    off: str = ""
    enum: str = ""


def _layers(text: str) -> int:
    """Read a number of GPU layers: `auto` and `all` are llama.cpp's -1 and -2."""
    return {"auto": -1, "all": -2}.get(text) or int(text)


def _seed(text: str) -> int:
    """Read a seed as the unsigned 32-bit number that llama.cpp keeps; -1 is a random one."""
    return int(text) & 0xFFFFFFFF


def _list(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [part for part in text.split(",") if part]


def _words(text: str) -> set[str]:
    """Split a comma-separated list into a set."""
    return set(_list(text))


def _on_off(text: str) -> bool:
    """Read `on` or `off`."""
    return {"on": True, "off": False}[text]


def _kv_type(text: str) -> str:
    """Allow the KV cache types of llama-server; others abort deep inside."""
    if text not in KV_TYPES:
        raise ValueError(f"unsupported cache type: {text}")
    return text


_ALLOWED = ", ".join(KV_TYPES)
OLD = "speculative."
NEW = "speculative.draft."
# fmt: off
FLAGS = (
    Flag("-t --threads", "N", "cpuparams.n_threads", int, "number of CPU threads to use during generation"),
    Flag("-tb --threads-batch", "N", "cpuparams_batch.n_threads", int, "threads for batch and prompt processing"),
    Flag("--poll", "<0...100>", "cpuparams.poll", int, "polling level to wait for work (0 - no polling)"),
    Flag("-c --ctx-size", "N", "n_ctx", int, "size of the prompt context (0 = loaded from model)"),
    Flag("-n --predict --n-predict", "N", "n_predict", int, "number of tokens to predict (-1 = infinity)"),
    Flag("-b --batch-size", "N", "n_batch", int, "logical maximum batch size"),
    Flag("-ub --ubatch-size", "N", "n_ubatch", int, "physical maximum batch size"),
    Flag("--keep", "N", "n_keep", int, "number of tokens to keep from the initial prompt"),
    Flag("--swa-full", "", "swa_full", None, "use full-size SWA cache"),
    Flag("-fa --flash-attn", "[on|off|auto]", "flash_attn_type", str, "set Flash Attention use",
         enum="llama_flash_attn_type"),
    Flag("-nkvo --no-kv-offload", "", "no_kv_offload", None, "disable KV cache offloading", off="-kvo --kv-offload"),
    Flag("--no-host", "", "no_host", None, "bypass host buffer allowing extra buffers to be used"),
    Flag("-ctk --cache-type-k", "TYPE", "cache_type_k", _kv_type, f"KV cache data type for K: {_ALLOWED}",
         enum="ggml_type"),
    Flag("-ctv --cache-type-v", "TYPE", "cache_type_v", _kv_type, f"KV cache data type for V: {_ALLOWED}",
         enum="ggml_type"),
    Flag("-np --parallel", "N", "n_parallel", int, "number of server slots"),
    Flag("--mlock", "", "use_mlock", None, "force system to keep model in RAM rather than swapping or compressing"),
    Flag("--mmap", "", "use_mmap", None, "whether to memory-map model", off="--no-mmap"),
    Flag("-dio --direct-io", "", "use_direct_io", None, "use DirectIO if available", off="-ndio --no-direct-io"),
    Flag("-lm --load-mode", "MODE", "load_mode", str, "model loading mode: auto, none, mmap, mlock, mmap+mlock, dio",
         enum="llama_load_mode"),
    Flag("--numa", "TYPE", "numa", str, "NUMA optimizations: distribute, isolate or numactl",
         enum="ggml_numa_strategy"),
    Flag("-ot --override-tensor", "<tensor name pattern>=<buffer type>,...", "tensor_buft_overrides", str,
         "override tensor buffer type"),
    Flag("-ngl --gpu-layers --n-gpu-layers", "N", "n_gpu_layers", _layers, "layers to store in VRAM, auto or all"),
    Flag("-sm --split-mode", "{none,layer,row}", "split_mode", str, "how to split the model across GPUs",
         enum="llama_split_mode"),
    Flag("-mg --main-gpu", "INDEX", "main_gpu", int, "the GPU to use with split-mode none"),
    Flag("-fit --fit", "[on|off]", "fit_params", _on_off, "whether to adjust unset arguments to fit in device memory"),
    Flag("-fitc --fit-ctx", "N", "fit_params_min_ctx", int, "minimum ctx size that can be set by --fit"),
    Flag("--check-tensors", "", "check_tensors", None, "check model tensor data for invalid values"),
    Flag("-m --model", "FNAME", "model.path", str, "model path to load"),
    Flag("-lv --verbosity --log-verbosity", "N", "verbosity", int, "verbosity threshold: 0 generic ... 5 debug"),
    Flag("-s --seed", "SEED", "sampling.seed", _seed, "RNG seed (-1 = random)"),
    Flag("--temp --temperature", "N", "sampling.temp", float, "temperature"),
    Flag("-ctxcp --ctx-checkpoints --swa-checkpoints", "N", "n_ctx_checkpoints", int, "context checkpoints per slot"),
    Flag("-cram --cache-ram", "N", "cache_ram_mib", int, "maximum cache size in MiB (-1 - no limit, 0 - disable)"),
    Flag("-kvu --kv-unified", "", "kv_unified", None, "use single unified KV buffer shared across all sequences",
         off="-no-kvu --no-kv-unified"),
    Flag("--context-shift", "", "ctx_shift", None, "whether to use context shift", off="--no-context-shift"),
    Flag("-sp --special", "", "special", None, "special tokens output enabled"),
    Flag("--warmup", "", "warmup", None, "whether to perform warmup with an empty run", off="--no-warmup"),
    Flag("-cb --cont-batching", "", "cont_batching", None, "whether to enable continuous batching",
         off="-nocb --no-cont-batching"),
    Flag("-a --alias", "STRING", "model_alias", _words, "model name aliases, comma-separated"),
    Flag("--host", "HOST", "hostname", str, "IP address to listen on"),
    Flag("--host", "HOST", "hostnames", _list, "IP addresses to listen on, comma-separated"),
    Flag("--port", "PORT", "port", int, "port to listen (0 = any free one)"),
    Flag("--reuse-port", "", "reuse_port", None, "allow multiple sockets to bind to the same port"),
    Flag("--api-prefix", "PREFIX", "api_prefix", str, "prefix path the server serves from"),
    Flag("--api-key", "KEY", "api_keys", _list, "API keys, comma-separated"),
    Flag("--webui", "", "webui", None, "whether to enable the Web UI", off="--no-webui"),
    Flag("--ui --webui", "", "ui", None, "whether to enable the Web UI", off="--no-ui --no-webui"),
    Flag("-to --timeout", "N", "timeout_read", int, "server read timeout in seconds"),
    Flag("--threads-http", "N", "n_threads_http", int, "number of threads used to process HTTP requests"),
    Flag("--cache-prompt", "", "cache_prompt", None, "whether to enable prompt caching", off="--no-cache-prompt"),
    Flag("--cache-reuse", "N", "n_cache_reuse", int, "min chunk size to attempt reusing from the cache"),
    Flag("--metrics", "", "endpoint_metrics", None, "enable prometheus compatible metrics endpoint"),
    Flag("--props", "", "endpoint_props", None, "enable changing global properties via POST /props"),
    Flag("--slots", "", "endpoint_slots", None, "expose slots monitoring endpoint", off="--no-slots"),
    Flag("--jinja", "", "use_jinja", None, "whether to use jinja template engine for chat", off="--no-jinja"),
    Flag("--chat-template", "JINJA_TEMPLATE", "chat_template", str, "custom jinja chat template"),
    Flag("-sps --slot-prompt-similarity", "SIMILARITY", "slot_prompt_similarity", float,
         "how much the prompt of a request must match the prompt of a slot in order to use that slot"),
    # The draft model, in the dialect of early 2026 ...
    Flag("-md --model-draft", "FNAME", OLD + "mparams_dft.path", str, "draft model for speculative decoding"),
    Flag("--draft --draft-n --draft-max", "N", OLD + "n_max", int, "number of tokens to draft"),
    Flag("--draft-min --draft-n-min", "N", OLD + "n_min", int, "minimum number of draft tokens to use"),
    Flag("--draft-p-min", "P", OLD + "p_min", float, "minimum speculative decoding probability (greedy)"),
    Flag("--draft-p-split", "P", OLD + "p_split", float, "speculative decoding split probability"),
    Flag("-cd --ctx-size-draft", "N", OLD + "n_ctx", int, "size of the prompt context for the draft model"),
    Flag("-td --threads-draft", "N", OLD + "cpuparams.n_threads", int, "threads of the draft model"),
    Flag("-tbd --threads-batch-draft", "N", OLD + "cpuparams_batch.n_threads", int, "the same for batches"),
    Flag("-ngld --gpu-layers-draft --n-gpu-layers-draft", "N", OLD + "n_gpu_layers", _layers, "as -ngl, for the draft"),
    Flag("-ctkd --cache-type-k-draft", "TYPE", OLD + "cache_type_k", _kv_type, "as -ctk, for the draft",
         enum="ggml_type"),
    Flag("-ctvd --cache-type-v-draft", "TYPE", OLD + "cache_type_v", _kv_type, "as -ctv, for the draft",
         enum="ggml_type"),
    Flag("--spec-type", "[none|ngram-cache|ngram-simple|ngram-map-k|ngram-map-k4v|ngram-mod]", OLD + "type", str,
         "type of speculative decoding to use when no draft model is provided", enum="common_speculative_type"),
    *(Flag(f"--spec-ngram-{name.replace('_', '-')}", "N", f"{OLD}ngram_{name}", int,
           f"{name} of ngram speculative decoding") for name in ("size_n", "size_m", "min_hits")),
    # ... and in today's.
    Flag("--spec-draft-model -md --model-draft", "FNAME", NEW + "mparams.path", str,
         "draft model for speculative decoding"),
    Flag("--spec-type", SPEC_TYPES, "speculative.types", _list,
         "comma-separated list of types of speculative decoding to use", enum="common_speculative_type"),
    Flag("--spec-draft-n-max", "N", NEW + "n_max", int, "number of tokens to draft for speculative decoding"),
    Flag("--spec-draft-n-min", "N", NEW + "n_min", int, "minimum number of draft tokens to use"),
    Flag("--spec-draft-p-min --draft-p-min", "P", NEW + "p_min", float,
         "minimum speculative decoding probability (greedy)"),
    Flag("--spec-draft-p-split --draft-p-split", "P", NEW + "p_split", float, "speculative decoding split probability"),
    Flag("--spec-draft-threads -td --threads-draft", "N", NEW + "cpuparams.n_threads", int,
         "threads of the draft model"),
    Flag("--spec-draft-threads-batch -tbd --threads-batch-draft", "N", NEW + "cpuparams_batch.n_threads", int,
         "the same for batches"),
    Flag("--spec-draft-ngl -ngld --gpu-layers-draft --n-gpu-layers-draft", "N", NEW + "n_gpu_layers", _layers,
         "as -ngl, for the draft"),
    Flag("--spec-draft-type-k -ctkd --cache-type-k-draft", "TYPE", NEW + "cache_type_k", _kv_type,
         "as -ctk, for the draft", enum="ggml_type"),
    Flag("--spec-draft-type-v -ctvd --cache-type-v-draft", "TYPE", NEW + "cache_type_v", _kv_type,
         "as -ctv, for the draft", enum="ggml_type"),
    Flag("--spec-draft-backend-sampling", "", NEW + "backend_sampling", None,
         "offload draft sampling to the backend", off="--no-spec-draft-backend-sampling"),
    Flag("--spec-ngram-mod-n-min", "N", "speculative.ngram_mod.n_min", int, "minimum ngram tokens to draft"),
    Flag("--spec-ngram-mod-n-max", "N", "speculative.ngram_mod.n_max", int, "maximum ngram tokens to draft"),
    Flag("--spec-ngram-mod-n-match", "N", "speculative.ngram_mod.n_match", int, "ngram-mod lookup length"),
    *(Flag(f"--spec-{kind}-{name.replace('_', '-')}", "N", f"speculative.{kind.replace('-', '_')}.{name}", int,
           f"{name} of {kind} speculative decoding")
      for kind in ("ngram-simple", "ngram-map-k", "ngram-map-k4v") for name in ("size_n", "size_m", "min_hits")),
)
# fmt: on


def _resolve(params: Any, path: str) -> tuple[Any, str]:
    """Find the object that holds the last attribute of a dotted path, and that attribute's name."""
    *owners, name = path.split(".")
    for owner in owners:
        params = getattr(params, owner)
    getattr(params, name)
    return params, name


def flags_of(params: Any) -> list[Flag]:
    """List the flags that this wheel can set: those whose attribute its CommonParams has."""
    found = []
    for flag in FLAGS:
        try:
            _resolve(params, flag.attr)
        except AttributeError:
            continue
        found.append(flag)
    return found


def help_text(flags: list[Flag]) -> str:
    """Write the flags in the layout of `llama-server --help`: names in a column of 40, the text beside it."""
    sections = (("common", False), ("speculative", True))
    lines = []
    for title, speculative in sections:
        lines += [f"----- {title} params -----", ""]
        if not speculative:
            lines += ["-h,    --help, --usage                  print usage and exit"]
            lines += ["--version                               show version and build info"]
        for flag in flags:
            if flag.attr.startswith("speculative.") is speculative:
                lines += _help_lines(flag)
        lines += ["", ""]
    return "\n".join(lines)


def _help_lines(flag: Flag) -> list[str]:
    """Write one flag of the help: `-c,    --ctx-size N` and its text, on a line of its own where the names are long."""
    first, *rest = [*flag.names.split(), *flag.off.split()]
    names = f"{first + ',':<6} {', '.join(rest)}" if rest else first
    names = f"{names} {flag.hint}".rstrip()
    text = textwrap.wrap(flag.help, HELP_WIDTH)
    if len(names) < HELP_COLUMN:
        return [f"{names:<{HELP_COLUMN}}{text[0]}", *(" " * HELP_COLUMN + line for line in text[1:])]
    return [names, *(" " * HELP_COLUMN + line for line in text)]


def _enum(module: Any, enum: str, word: str) -> Any:
    """Find the member of one of the wheel's enumerations that llama-server calls `word`."""
    members = getattr(module, enum).__members__
    prefix = ENUM_PREFIXES[enum]
    for spelling in (word, ENUM_WORDS.get(word, word)):
        member = members.get(prefix + spelling.upper().replace("-", "_"))
        if member is not None:
            return member
    raise ValueError(f"unknown value: {word}")


def apply_arguments(module: Any, params: Any, flags: list[Flag], args: list[str]) -> None:
    """Set the parameters that the arguments ask for; the last one wins, as in llama-server.

    Raises RefusedError with llama-server's wording for what is unknown, incomplete or cannot be read.
    """
    by_name = {name: (flag, False) for flag in flags for name in flag.off.split()}
    by_name |= {name: (flag, True) for flag in flags for name in flag.names.split()}
    rest = iter(args)
    for arg in rest:
        if arg not in by_name:
            raise EmbeddedServerError(_why_unknown(arg))
        flag, value = by_name[arg]
        owner, name = _resolve(params, flag.attr)
        if flag.parse is None:
            setattr(owner, name, value)
            continue
        try:
            text = next(rest)
        except StopIteration:
            raise EmbeddedServerError(f'error while handling argument "{arg}": expected value for argument') from None
        try:
            setattr(owner, name, _value(module, flag, text))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise EmbeddedServerError(
                f'error while handling argument "{arg}": {text!r} is no {flag.hint} ({error})'
            ) from error


def _value(module: Any, flag: Flag, text: str) -> Any:
    """Read the value of a flag as its attribute takes it."""
    assert flag.parse is not None
    value = flag.parse(text)
    if not flag.enum:
        return value
    if isinstance(value, list):
        return [_enum(module, flag.enum, word) for word in value]
    return _enum(module, flag.enum, value)


def _why_unknown(arg: str) -> str:
    """Tell a flag that the wheel cannot set from one that nobody knows."""
    if arg in UNSETTABLE.split():
        return f"error: the embedded llama.cpp cannot set {arg}; use the llama-server program"
    if any(arg in f"{flag.names} {flag.off}".split() for flag in FLAGS):
        return f"error: invalid argument: {arg} (other versions of llama.cpp have it; --help lists what this one has)"
    return f"error: invalid argument: {arg}"


def serve(module: Any, params: Any) -> NoReturn:
    """Load the models, serve until TERM or INT comes, and end the process: 0, or 1 where nothing could be served."""
    if not params.model.path:
        raise EmbeddedServerError("error: no model: give one with -m FNAME")
    try:
        server = module.Server(params)
    except (RuntimeError, ValueError) as error:
        raise EmbeddedServerError(f"error: llama.cpp did not start: {error} The reason stands above") from error
    # A byte in a pipe wakes this thread whichever thread the signal reached, and when it came; pause() misses those of
    # the server's threads, and one that comes just before it.
    told, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _say(f"main: server is listening on {server.listening_address}")
    os.read(told, 1)
    # At once and without the wheel's destructor, which waits for requests in flight.
    os._exit(0)


def _say(text: str) -> None:
    """Write a line to stderr, where llama.cpp logs too; a full disk behind it ends no server."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def main(args: list[str]) -> int:
    """Run the server with llama-server's arguments; returns the exit code where it does not serve."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import xllamacpp
    except ImportError as error:
        _say(f"error: the embedded llama.cpp is missing ({error}); install it: pip install 'specdash[embedded]'")
        return 1
    if "--version" in args:
        _say(f"version: {xllamacpp.__version__} (xllamacpp)")
        return 0
    params = xllamacpp.CommonParams()
    flags = flags_of(params)
    if {"-h", "--help", "--usage"} & set(args):
        sys.stdout.write(help_text(flags))
        return 0
    try:
        apply_arguments(xllamacpp, params, flags, args)
        serve(xllamacpp, params)
    except EmbeddedServerError as refusal:
        _say(str(refusal))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
