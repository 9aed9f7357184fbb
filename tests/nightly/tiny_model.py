"""Owns: a model file of a few hundred kilobytes with random weights, for a real engine to load.

GGUF 3, as the specification in ggml's repository (docs/gguf.md) has it: a header, key-value pairs,
tensor infos, and the tensors' bytes, each aligned. Its answers are nonsense, of the right form.
"""

import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ALIGNMENT: Final = 32
_EMBEDDING, _FEED_FORWARD, _HEADS, _CONTEXT = 64, 128, 4, 2048
# Types of values and of tokens: gguf_metadata_value_type, llama_token_type.
_U32, _I32, _F32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_TENSOR_F32: Final = 0

Pair = tuple[str, int, bytes]


def write_tiny_model(path: Path, seed: int = 1) -> None:
    """A Llama of one layer whose tokens are the 256 bytes, written to `path`."""
    chooser = random.Random(seed)
    tokens = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    tokens += [(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    tokens += [("\u2581" + word, _NORMAL) for word in ("a", "the", "proxy", "model")]
    pairs = [*_shape(len(tokens)), *_vocabulary(tokens)]
    tensors = _tensors(len(tokens))
    infos, data = b"", b""
    for name, dimensions in tensors.items():
        sizes = struct.pack(f"<{len(dimensions)}Q", *dimensions)
        infos += _text(name) + struct.pack("<I", len(dimensions)) + sizes
        infos += struct.pack("<IQ", _TENSOR_F32, len(data))
        data += _padded(_weights(chooser, name, dimensions))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(_text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    path.write_bytes(_padded(head + infos) + data)


def _shape(vocabulary: int) -> list[Pair]:
    sizes = {
        "context_length": _CONTEXT,
        "embedding_length": _EMBEDDING,
        "block_count": 1,
        "feed_forward_length": _FEED_FORWARD,
        "attention.head_count": _HEADS,
        "rope.dimension_count": _EMBEDDING // _HEADS,
        "vocab_size": vocabulary,
    }
    epsilon = ("llama.attention.layer_norm_rms_epsilon", _F32, struct.pack("<f", 1e-5))
    return [
        ("general.architecture", _STRING, _text("llama")),
        ("general.name", _STRING, _text("tiny")),
        *((f"llama.{name}", _U32, struct.pack("<I", size)) for name, size in sizes.items()),
        epsilon,
    ]


def _vocabulary(tokens: Sequence[tuple[str, int]]) -> list[Pair]:
    count = len(tokens)
    names = b"".join(_text(text) for text, _ in tokens)
    scores = struct.pack(f"<{count}f", *(0.0 if kind != _NORMAL else -1.0 for _, kind in tokens))
    kinds = struct.pack(f"<{count}i", *(kind for _, kind in tokens))
    lists = (("tokens", _STRING, names), ("scores", _F32, scores), ("token_type", _I32, kinds))
    ids = (("unknown_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 2))
    return [
        ("tokenizer.ggml.model", _STRING, _text("llama")),
        *(
            (f"tokenizer.ggml.{name}", _ARRAY, struct.pack("<IQ", kind, count) + items)
            for name, kind, items in lists
        ),
        *((f"tokenizer.ggml.{name}", _U32, struct.pack("<I", number)) for name, number in ids),
    ]


def _tensors(vocabulary: int) -> dict[str, tuple[int, ...]]:
    square, wide = (_EMBEDDING, _EMBEDDING), (_EMBEDDING, _FEED_FORWARD)
    layer = {
        "attn_norm": (_EMBEDDING,),
        "attn_q": square,
        "attn_k": square,
        "attn_v": square,
        "attn_output": square,
        "ffn_norm": (_EMBEDDING,),
        "ffn_gate": wide,
        "ffn_up": wide,
        "ffn_down": (_FEED_FORWARD, _EMBEDDING),
    }
    return {
        "token_embd.weight": (_EMBEDDING, vocabulary),
        **{f"blk.0.{name}.weight": sizes for name, sizes in layer.items()},
        "output_norm.weight": (_EMBEDDING,),
        "output.weight": (_EMBEDDING, vocabulary),
    }


def _weights(chooser: random.Random, name: str, dimensions: tuple[int, ...]) -> bytes:
    count = 1
    for size in dimensions:
        count *= size
    if "norm" in name:
        return struct.pack(f"<{count}f", *[1.0] * count)
    return struct.pack(f"<{count}f", *(chooser.gauss(0.0, 0.1) for _ in range(count)))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
