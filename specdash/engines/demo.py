"""Demo models: small GGUF files with random weights and a real, tunable acceptance, written in seconds.

A target is a llama-architecture model whose layers after the first few add only a little (`epsilon` times what they
would) to the residual stream; its draft is those first layers with the same embedding and output matrices. The draft
is therefore right most of the time for a small epsilon and seldom for a large one, as a real draft is, while every
matrix is really read and multiplied: speed and memory behave like those of a trained model of that size. The words
that such a model writes mean nothing, and its metadata says so (`specdash.synthetic`).

A mixture-of-experts target has, in the layers that it shares with its draft, experts that are all alike: whichever the
router picks and however many, those layers compute what the dense draft computes. So one draft fits at any number of
experts.

Weights are F32, since that is memory-bound at one token and cheap at several on every CPU, with or without AVX-512 or
BF16 instructions: verifying five tokens costs about twice as much as decoding one, so speculation can win.

Needs numpy and gguf, which are imported when the first model is written.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdash.core.model import SYNTHETIC_KEY
from specdash.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

EPSILON_KEY = "specdash.epsilon"
CONTEXT = 8192
VOCABULARY = 3072
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # llama.cpp's token types
SPACE = "▁"  # SentencePiece's sign for a space

# What ordinary prompts are made of, so that a prompt of a thousand characters takes hundreds of tokens, not a thousand.
WORDS = """
    the of and to in is it that was for on are as with his they at be this have from or one had by word but not what all
    were we when your can said there use an each which she do how their if will up other about out many then them these
    so some her would make like him into time has look two more write go see number no way could people my than first
    water been call who its now find long down day did get come made may part over new sound take only little work know
    place year live me back give most very after thing our just name good sentence man think say great where help
    through much before line right too mean old any same tell boy follow came want show also around form three small
    set put end does another well large must big even such because turn here why ask went read need different home us
    move try kind hand picture again change off play spell air away animal house point page letter mother answer found
    study still learn should world def return self import class print list string value int float for while else true
    false none function test code data key text file user system model table order item result example following
    explain describe translate between using between each step total price speed hours minutes english french german
"""
FRAGMENTS = """
    ing tion ment able ness ity ence ance ally ical ight ould ther ers est ent ate ate ive ous ful less ish ough ell all
    ill ain ear een ead ees ick ock and end ind ound ong ung ang ink ank ore ire are ure ide ade ine one une ame ime ome
    ume ale ile ole ake ike oke ack eck uck ash ush ist ost ust ast ess ass oss cess sion ssion ction ter der ver per
    ber mer ner ler ser cal tal nal ral con com pro pre str spr tra tri tro cha che chi cho sha she shi sho tha the thi
    tho wha whe whi qua que qui ed er es en el et em ec ex al ar an as at ac ad am ap av or on ou om op os ot ow ol ob
    oc od og ov ir is it in il ic id im ig ip iv ur us un ut ul um ub ly ty ry ny by my gy cy ck ll ss tt ff ee oo ea ai
    au ay oi oy ew ph gh th sh ch wh st nd nt ng nk nc mp mb ld lt lf lk rt rd rk rn rm rs rl ts ds ks ls ns ms ps gs
    00 10 20 50 100 == () [] {} -> // .. ** ", ': "' '
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a demo model and its draft.

    `width`, `ffn` (inner width of the feed-forward part, of each expert if there are any) and `head` (width of an
    attention head) count elements; `layers` is the target's depth, `shared` how many of its first layers make the
    draft. `experts_used` is the default that `--override-kv llama.expert_used_count` changes.
    """

    width: int
    ffn: int
    layers: int
    shared: int = 1
    head: int = 64
    experts: int = 0
    experts_used: int = 2


DEMO = Shape(width=768, ffn=2048, layers=7)
DEMO_MOE = Shape(width=512, ffn=512, layers=6, experts=8)
TINY = Shape(width=64, ffn=192, layers=4, head=32)


def write_pair(folder: Path, *, epsilon: float = 0.05, shape: Shape = DEMO, seed: int = 1) -> tuple[Path, Path]:
    """Writes a target and its draft into `folder` (made if missing); returns their paths.

    The share of accepted tokens falls as `epsilon` grows: with DEMO and drafts of four tokens about 0.84 at 0.02, 0.70
    at 0.05, 0.41 at 0.1 and 0.20 at 0.2. At 0.05 the best K on two CPU cores was 4, among 2, 4 and 8. The same
    arguments give the same bytes: 217 MB and 47 MB with DEMO, about 2 MB each with TINY. Raises EngineError when numpy
    or gguf is missing, or when the files cannot be written.
    """
    kind = "moe" if shape.experts else "dense"
    target, draft = folder / f"{size_name(shape)}-{kind}-target.gguf", folder / f"{size_name(shape)}-{kind}-draft.gguf"
    with writing_into(folder):
        _write(target, shape, seed, epsilon, draft=False)
        _write(draft, shape, seed, epsilon, draft=True)
    return target, draft


def size_name(shape: Shape) -> str:
    """What files of this size are called."""
    return "tiny" if shape.width < 128 else "demo"


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Makes `folder`, and turns what fails in writing into it into an EngineError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise EngineError(
            f"cannot write demo models into {str(folder)!r}: {error.strerror or error}",
            "Name another folder, or make room: the demo models take up to 500 MB.",
        ) from error


def write_moe(folder: Path, *, epsilon: float = 0.03, shape: Shape = DEMO_MOE, seed: int = 1) -> tuple[Path, Path]:
    """As `write_pair`, with a mixture of experts as the target (189 MB and 20 MB with DEMO_MOE)."""
    return write_pair(folder, epsilon=epsilon, shape=shape, seed=seed)


def vocabulary() -> tuple[list[str], list[int], int]:
    """The demo models' tokens, their types, and the id of the first token that a model may write.

    A SentencePiece vocabulary: control tokens, bytes, printable characters, beginnings of English words and fragments
    (input only), and pseudo-words. All scores are equal, so text is cut into the longest tokens from the left; for
    that each token's beginnings are tokens too.
    """
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256]
    characters = [chr(code) for code in range(33, 127)]
    whole = [*(SPACE + char for char in characters), *(SPACE + word for word in WORDS.split()), *FRAGMENTS.split()]
    inputs = [SPACE, *characters, *(text[:end] for text in whole for end in range(2, len(text) + 1))]
    pieces = list(dict.fromkeys(inputs))
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = [SPACE + a + b for a in syllables for b in syllables]
    known = set(pieces)
    free = VOCABULARY - len(texts) - len(pieces)
    spoken = [word for word in words if word not in known]
    spread = [spoken[index * len(spoken) // free] for index in range(free)]
    first_spoken = len(texts) + len(pieces)
    texts += [*pieces, *spread]
    types += [NORMAL] * (len(pieces) + len(spread))
    return texts, types, first_spoken


@dataclass(frozen=True, slots=True)
class Weights:
    """The matrices of one family of models; each depends on the seed and its own name only.

    That is what makes the draft's layers the target's.
    """

    numpy: Any
    shape: Shape
    seed: int
    epsilon: float

    def matrix(self, name: str, rows: int, columns: int, scale: float = 1.0) -> Matrix:
        """Normally distributed weights, shape (rows, columns), that keep the variance of what they multiply."""
        source = self.numpy.random.default_rng([self.seed, zlib.crc32(name.encode())])
        weights: Matrix = source.standard_normal((rows, columns), dtype=self.numpy.float32)
        weights *= scale / columns**0.5
        return weights

    def ones(self) -> Matrix:
        """The weights of a norm."""
        found: Matrix = self.numpy.ones(self.shape.width, self.numpy.float32)
        return found

    def tensors(self, *, draft: bool) -> Iterator[tuple[str, Matrix]]:
        """All tensors of the target or the draft, in file order."""
        width = self.shape.width
        yield "token_embd.weight", self.matrix("token_embd", VOCABULARY, width, width**0.5)
        output = self.matrix("output", VOCABULARY, width)
        output[: vocabulary()[2]] = 0  # never the best choice, so text has only pseudo-words and no end
        yield "output.weight", output
        yield "output_norm.weight", self.ones()
        for layer in range(self.shape.shared if draft else self.shape.layers):
            yield from self._layer(layer, dense=draft or not self.shape.experts)

    def _layer(self, layer: int, *, dense: bool) -> Iterator[tuple[str, Matrix]]:
        """One layer; past the shared ones it adds epsilon times as much to the residual stream."""
        width, ffn = self.shape.width, self.shape.ffn
        add = 1.0 if layer < self.shape.shared else self.epsilon
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", self.ones()
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield (
                f"{prefix}{part}.weight",
                self.matrix(prefix + part, width, width, add if part == "attn_output" else 1),
            )
        yield prefix + "ffn_norm.weight", self.ones()
        parts = (("ffn_gate", ffn, width, 1.0), ("ffn_up", ffn, width, 1.0), ("ffn_down", width, ffn, add))
        if not dense:
            yield prefix + "ffn_gate_inp.weight", self.matrix(prefix + "ffn_gate_inp", self.shape.experts, width)
        for part, rows, columns, scale in parts:
            if dense:
                yield f"{prefix}{part}.weight", self.matrix(prefix + part, rows, columns, scale)
                continue
            alike = layer < self.shape.shared
            names = [prefix + part if alike else f"{prefix}{part}.{number}" for number in range(self.shape.experts)]
            experts = [self.matrix(name, rows, columns, scale) for name in names]
            yield f"{prefix}{part}_exps.weight", self.numpy.stack(experts)


def _write(path: Path, shape: Shape, seed: int, epsilon: float, *, draft: bool) -> None:
    """Writes one model file."""
    try:
        import gguf
        import numpy as np
    except ImportError as error:
        raise EngineError(
            f"the demo models need the packages numpy and gguf, and {error.name or 'one of them'} is missing",
            "pip install 'specdash[embedded]'",
        ) from error
    weights = Weights(np, shape, seed, epsilon)
    with placed(path) as unfinished, contextlib.closing(gguf.GGUFWriter(unfinished, "llama")) as writer:
        _add_metadata(writer, gguf, path.stem, shape, epsilon, draft=draft)
        for name, tensor in weights.tensors(draft=draft):
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under, which then replaces `path`: a half-written one never has that name.

    The same content leaves the file as it is, with its time: runs on it can be resumed.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        if not (os.path.isfile(path) and filecmp.cmp(unfinished, path, shallow=False)):
            unfinished.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def _add_metadata(writer: Any, gguf: Any, name: str, shape: Shape, epsilon: float, *, draft: bool) -> None:
    """The header of one model: what it is, that it is synthetic, its sizes and its vocabulary."""
    writer.add_name(f"specdash {name} (synthetic weights)")
    writer.add_description("Random weights, made to measure speed and acceptance. Its text means nothing.")
    writer.add_bool(SYNTHETIC_KEY, True)
    writer.add_float32(EPSILON_KEY, epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.shared if draft else shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.width // shape.head)
    writer.add_head_count_kv(shape.width // shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    if shape.experts and not draft:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
    texts, types, _first_spoken = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.encode() for text in texts])
    writer.add_token_scores([0.0] * len(texts))
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
