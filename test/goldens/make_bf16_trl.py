"""Golden for `criterion: bf16-trl`: the official code's tensor path on the CPU (losses.md 1.2, 1.5).

    python test/goldens/make_bf16_trl.py > test/goldens/bf16_trl.json

Hidden states and head weights are multiples of 1/8, so their products are exact in f32 and every difference that is left is the criterion's.
"""
import json
import torch

torch.manual_seed(7)
D, V, PAIRS, EPS = 8, 48, 48, 0.05
whole = lambda *shape, high: torch.randint(-high, high + 1, shape)
w, wr_shift = whole(V, D, high=24), whole(V, D, high=8)
rows = []
for pair in range(PAIRS):
    lengths = [int(n) for n in torch.randint(6, 20, (2,))]
    sides = []
    for n in lengths:
        h = whole(n, D, high=10)
        hr = h + whole(n, D, high=4) * (pair % 4 > 0)
        sides.append((h, hr, torch.randint(0, V, (n,))))
    rows.append(sides)
wr = w + wr_shift


def logps(h, hr, y):
    f = (h.double() / 8 @ w.double().T / 8).float().bfloat16()
    r = (hr.double() / 8 @ wr.double().T / 8).float().bfloat16()
    out = []
    for x in (f, (1 + EPS) * f - EPS * r, (1 - EPS) * f + EPS * r):
        # As the CUDA kernels the official code ran on: f32 inside, bf16 at each tensor's end. (The CPU's bf16 log_softmax rounds inside too.)
        token = x.float().log_softmax(-1).bfloat16().gather(-1, y[:, None])[:, 0]
        out.append(token.float().sum(-1).bfloat16())
    return out


result = []
for sides in rows:
    (w0, wp, wn), (l0, lp, ln) = (logps(*s) for s in sides)
    now, p, n = w0 - l0, wp - lp, wn - ln
    step = int((p > now) & (now > n)) - int((n > now) & (now > p))
    result.append({
        "sides": [{"h": s[0].flatten().tolist(), "hr": s[1].flatten().tolist(), "y": s[2].tolist()} for s in sides],
        "ratios": [float(now), float(p), float(n)], "step": step,
    })
print(json.dumps({"torch": torch.__version__, "D": D, "V": V, "epsilon": EPS, "unit": 8, "w": w.flatten().tolist(), "wr": wr.flatten().tolist(), "pairs": result}))
