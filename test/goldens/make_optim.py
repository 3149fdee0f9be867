"""Optimiser trajectories, for test/ops/optim.test.ts: test/goldens/optim.json.

    python test/goldens/make_optim.py > test/goldens/optim.json

torch 2.15, transformers 5.24, bitsandbytes 0.50.2, on the CPU in f32. The dynamic maps of bitsandbytes, and values of a matrix after some steps of each
optimiser as transformers' Trainer sets it up. Element i of the n-th tensor is a sine of 0.7 + 12.9898 (i+1) + 78.233 n; its gradient at step s (from 1) the same with
n + 10 s, times 0.1 and a factor that changes from element to element (10 to the sine of i+1) so that the moments of a block span decades.
Per case: every 37th value of the matrix, after each fifth step.
"""
import json
import math

# torch.linspace, which bitsandbytes' maps come of, differs in the last bit between its scalar code and the vector code of today's processors: this is the latter's.
import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu
import torch
import transformers


def nearest_codes(values, code, absmax_out, out, blocksize):
    """bitsandbytes' native CPU routine looks codes up in a coarse grid (up to 7 from the nearest for small values); its GPU kernels take the nearest, as its own
    path for other types does, which f64 reaches."""
    codes, absmax = torch.ops.bitsandbytes.quantize_blockwise(values.double(), code, blocksize)
    out.copy_(codes)
    absmax_out.copy_(absmax)


cpu._quant_blockwise_fp32_direct = nearest_codes

SHAPE = (70, 90)


def tensor(shape, n, scaled=False):
    size = math.prod(shape)
    values = [math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) * ((0.1 * 10 ** math.sin(i + 1)) if scaled else 1.0) for i in range(size)]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).reshape(shape)


CASES = {
    "adamw_torch": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
    "adamw_8bit": lambda p: bnb.optim.AdamW(p, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, optim_bits=8),
    "adafactor": lambda p: transformers.Adafactor(p, lr=0.01, weight_decay=0.1, scale_parameter=False, relative_step=False),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1, momentum=0.9),
}
out = {
    "versions": f"torch {torch.__version__}, transformers {transformers.__version__}, bitsandbytes {bnb.__version__}",
    "maps": {name: bnb.functional.create_dynamic_map(signed=signed).tolist() for name, signed in (("signed", True), ("unsigned", False))},
    "cases": {},
}
for name, make in CASES.items():
    p = torch.nn.Parameter(tensor(SHAPE, 0))
    optimiser = make([p])
    seen = []
    for step in range(1, 16):
        p.grad = tensor(SHAPE, 10 * step, True)
        optimiser.step()
        if step % 5 == 0:
            seen.append(p.detach().flatten()[::37].tolist())
    out["cases"][name] = seen
print(json.dumps(out))
