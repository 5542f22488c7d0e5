"""Tables of the GGUF reader: types of tensors and files, and what other files look like."""

from __future__ import annotations

# Label, weights in a block and bytes of a block, by ggml type (`ggml_type` and `type_traits` of ggml).
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

# Labels by `general.file_type` (`llama_ftype` of llama.cpp).
FILE_TYPES = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), 7)),
    **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), 16)),
    **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0"), 36)),
}

_BEGINNINGS = (
    (b"FUGG", "is a big-endian GGUF file, which llama.cpp cannot load here", "Get a little-endian one."),
    (b"lmgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"fmgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"tjgg", "is in a format older than GGUF, which llama.cpp no longer loads", "Get a .gguf file of the model."),
    (b"PK\x03\x04", "is a zip or PyTorch file, not a GGUF file", "Get a .gguf file of the model."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the model itself", "Run git lfs pull in its folder."),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def guess_file_type(head: bytes) -> tuple[str, str]:
    """What a file that is no GGUF file seems to be, judged by its first bytes, and what to do about it."""
    if not head:
        return "is empty", "Download or copy it again."
    for beginning, what, todo in _BEGINNINGS:
        if head.startswith(beginning):
            return what, todo
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return "is a safetensors file, not a GGUF file", "Name its folder, for an MLX server; or get a .gguf file."
    if head.lstrip().lower().startswith(_PAGES):
        return (
            "is a web page, not a model",
            "Its download answered with a page: sign in or check the link, then try again.",
        )
    if not head.strip(b"\0"):
        return "begins with zero bytes only, so its download was not finished", "Download or copy it again."
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "is a text file, not a GGUF file", "Name the .gguf file of a model."
    return "is not a GGUF file", "Name the .gguf file of a model."
