"""Packed weights by bitsandbytes on the CPU, for test/model/packing.test.ts: test/goldens/packing.json.

    python test/goldens/make_packing.py > test/goldens/packing.json

bitsandbytes 0.50.2, torch 2.15. Per case: nf4 with and without double quantisation and int8's rows: SHA-256 of the packed bytes and of the dequantised f32 values,
scales and their codes in base64.
"""
import base64, hashlib, json, sys
import numpy as np
import torch
import bitsandbytes as bnb
import bitsandbytes.functional as F


def numbers(seed, n):
    """Nearly normal, exact in every language: sums of four terms of a 32-bit LCG, less their mean, over 32."""
    s, out = seed, []
    for _ in range(n):
        total = 0
        for _ in range(4):
            s = (1664525 * s + 1013904223) % 2**32
            total += s
        out.append((total / 2**32 - 2) / 32)
    return np.array(out, dtype=np.float64).astype(np.float32)


def b64(t):
    return base64.b64encode(t.contiguous().numpy().tobytes()).decode()


def sha(t):
    return hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()


def values(rows, width, seed):
    v = numbers(seed, rows * width)
    v[3] = 1.5  # an outlier
    if rows * width > 400:
        v[128:192] = 0  # a block of zeros
    return torch.from_numpy(v).reshape(rows, width)


def case(rows, width, seed):
    w = values(rows, width, seed)
    out = {"rows": rows, "width": width, "seed": seed}
    for nested in (False, True):
        packed, state = F.quantize_nf4(w, blocksize=64, compress_statistics=nested)
        if nested:
            # The CPU kernel rounds to a grid of 16 bits before it looks for the nearest code; in f64 it takes bitsandbytes' reference, as CUDA's is.
            absmax = F.quantize_nf4(w, blocksize=64, compress_statistics=False)[1].absmax
            state.absmax, state.state2.absmax = torch.ops.bitsandbytes.quantize_blockwise.default((absmax - state.offset).double(), state.state2.code, 256)
        got = {"packed": sha(packed), "dequantised": sha(F.dequantize_4bit(packed, state).float())}
        if nested:
            got |= {"codes": b64(state.absmax), "scales": b64(state.state2.absmax), "offset": state.offset.item(), "map": b64(state.state2.code)}
        else:
            got["absmax"] = b64(state.absmax)
        out["nf4_double" if nested else "nf4"] = got
    q, absmax, _ = F.int8_vectorwise_quant(w.clone())
    out["int8"] = {"packed": sha(q), "absmax": b64(absmax), "dequantised": sha(torch.ops.bitsandbytes.int8_vectorwise_dequant(q, absmax))}
    return out


out = {
    "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "bitsandbytes": bnb.__version__},
    "unsigned_map": b64(F.create_dynamic_map(signed=False)),
    "cases": [case(*c) for c in [(3, 20, 1), (5, 123, 2), (8, 96, 3), (150, 116, 4)]],
}
json.dump(out, sys.stdout)
print()
