"""One optimiser step of methods whose official code is no part of TRL, from their formulas, for test/losses/official.test.ts: test/goldens/official.json.

    python test/goldens/make_official.py > test/goldens/official.json

torch 2.15.0, transformers 5.24.0, CPU, f64 (transformers' norms and angles go through f32), autograd through full logits; models, data and the form of
the goldens are make_trl.py's. Formulas: SimPO (arXiv 2405.14734, Eq. 6, and the repo's SFT term), TDPO1/2 (2404.11999), β-DPO (2407.08639, as
junkangwu/beta-DPO runs it), ε-DPO (2502.13177, as oddqueue/e-dpo runs it, criterion in exact arithmetic). Nothing here knows a closed-form gradient.
"""
import importlib.metadata as md
import itertools
import json
import math

import torch
from torch.nn.functional import logsigmoid

from make_trl import PAIRS, SIZES, build, result, short, wave

END = SIZES["eos_token_id"]


def rows(model, prompt, response):
    """Logits [n, V] of the positions that predict the response, and the response."""
    ids = prompt + response + [END]
    return model(torch.tensor([ids])).logits[0, len(prompt) - 1:-1].double(), torch.tensor(response + [END])


class Response:
    def __init__(self, policy, reference, prompt, response):
        (self.f, self.y), (self.r, _) = rows(policy, prompt, response), rows(reference, prompt, response)
        self.r = self.r.detach()
        self.n = len(self.y)
        self.a, self.ref = self.sum(self.f), self.sum(self.r)
        log_pi, log_rho = torch.log_softmax(self.f, -1), torch.log_softmax(self.r, -1)
        # KL(ref || policy) of the whole distribution at every position.
        self.kl = (log_rho.exp() * (log_rho - log_pi)).sum()
        self.u = self.a - self.ref

    def sum(self, logits):
        return torch.log_softmax(logits, -1).gather(-1, self.y[:, None]).sum()


def simpo(pairs, beta, simpo_gamma, label_smoothing=0.0, sft=0.0):
    x = torch.stack([beta * (w.a / w.n - l.a / l.n) - simpo_gamma for w, l in pairs])
    losses = -(1 - label_smoothing) * logsigmoid(x) - label_smoothing * logsigmoid(-x)
    likelihood = -sum(w.a for w, _ in pairs) / sum(w.n for w, _ in pairs)
    return losses.mean() + sft * likelihood, lambda s: beta * s.a / s.n, {}


def tdpo(pairs, beta, alpha=None):
    """TDPO1 where alpha is None."""
    h = [w.u - l.u - (l.kl - w.kl if alpha is None else alpha * (l.kl - w.kl.detach())) for w, l in pairs]
    mean = lambda side: float(torch.stack([p[side].kl for p in pairs]).mean())
    return -logsigmoid(beta * torch.stack(h)).mean(), lambda s: beta * (s.u + s.kl), {"kl/ref_policy_chosen": mean(0), "kl/ref_policy_rejected": mean(1)}


def chance(order, logs):
    """Of this order in drawing without replacement by weights exp(logs)."""
    left, p = list(range(len(logs))), 1.0
    for i in order:
        top = max(logs[j] for j in left)
        p *= math.exp(logs[i] - top) / sum(math.exp(logs[j] - top) for j in left)
        left.remove(i)
    return p


def beta_dpo(pairs, beta, beta_dpo_alpha, beta_dpo_filter, beta_dpo_momentum):
    h = torch.stack([w.u - l.u for w, l in pairs])
    m = h.detach()
    mean = (1 - beta_dpo_momentum) * m.mean()
    deviation = (1 - beta_dpo_momentum) * m.std(unbiased=True)
    logs = (-0.5 * ((m - mean) / deviation) ** 2).tolist()
    n = len(pairs)
    chances = {kept: sum(chance(order, logs) for order in itertools.permutations(kept)) for kept in itertools.combinations(range(n), int((1 - beta_dpo_filter) * n))}
    kept = max(chances, key=chances.get)
    # The draw needs no random numbers in common: in a first step the running deviation is so small that one outcome is all but certain.
    assert chances[kept] > 1 - 1e-3, chances
    used = max(1e-3, beta * (1 + beta_dpo_alpha * float(m[list(kept)].mean() - mean)))
    loss = -logsigmoid(used * h[list(kept)]).mean()
    return loss, lambda s: beta * s.u, dict(used=used, state=[float(mean), float(deviation)], kept=list(kept), chance=chances[kept])


def epsilon_dpo(pairs, beta, epsilon):
    steps, losses = [], []
    for w, l in pairs:
        ratio = lambda a, b: float(w.sum(a * w.f + b * w.r) - l.sum(a * l.f + b * l.r))
        plain, up, down = ratio(1, 0), ratio(1 + epsilon, -epsilon), ratio(1 - epsilon, epsilon)
        s = 1 if up > plain > down else -1 if down > plain > up else 0
        for side in (w, l):
            side.beta = beta / (1 + epsilon * s)
        steps.append(s)
        losses.append(-logsigmoid(w.beta * (w.u - l.u)))
    average = sum(steps) / len(steps)
    return torch.stack(losses).mean(), lambda s: s.beta * s.u, {
        "kl/p_epsilon_steps": steps.count(1) / len(steps), "kl/n_epsilon_steps": steps.count(-1) / len(steps), "kl/avg_steps": average, "kl/beta": beta, "after": beta / (1 + average * epsilon)}


def case(name, method, settings, flags, reference=True):
    policy, frozen = build(False), build(True)
    pairs = [tuple(Response(policy, frozen, p["prompt"], p[side]) for side in ("chosen", "rejected")) for p in PAIRS]
    loss, reward, extra = method(pairs, **settings)
    loss.backward()
    tensors = dict(policy.named_parameters())
    with torch.no_grad():
        rewards = [tuple(float(reward(s)) for s in p) for p in pairs]
        mean = lambda of: sum(of) / len(pairs)
        metrics = {
            "loss": float(loss), "grad_norm": float(torch.stack([p.grad.norm() for p in tensors.values()]).norm()), "rewards/chosen": mean(r for r, _ in rewards), "rewards/rejected": mean(r for _, r in rewards),
            "rewards/margins": mean(a - b for a, b in rewards), "rewards/accuracies": mean(a > b for a, b in rewards), "logps/chosen": mean(float(w.a) for w, _ in pairs), "logps/rejected": mean(float(l.a) for _, l in pairs)}
        gradients = [[short(tensors[k].grad.norm()), short((tensors[k].grad.flatten() * torch.tensor(wave(tensors[k].numel(), n, 1.0), dtype=torch.float64)).sum())] for n, k in enumerate(sorted(tensors))]
    kept = {k: v for k, v in extra.items() if "/" not in k}
    return dict(name=name, reference=reference, flags=flags, metrics={k: short(v) for k, v in (metrics | {k: v for k, v in extra.items() if "/" in k}).items()}, gradients=gradients, **kept)


def own(name, method, loss_type, reference=True, **settings):
    return case(name, method, settings, {"loss_type": loss_type} | settings, reference)


def main():
    followed = dict(beta=0.5, beta_dpo_alpha=0.6, beta_dpo_momentum=0.9)
    cases = [
        own("SimPO, label smoothing", simpo, "simpo", False, beta=2.5, simpo_gamma=0.25, label_smoothing=0.1),
        case("SimPO with its SFT term", simpo, dict(beta=2.0, simpo_gamma=1.0, sft=0.5), dict(loss_type="simpo,sft", loss_weights="1,0.5", beta=2.0, simpo_gamma=1.0), False),
        own("TDPO1", tdpo, "tdpo1", beta=0.5),
        case("TDPO2", tdpo, dict(beta=0.5, alpha=0.7), dict(loss_type="tdpo2", beta=0.5, tdpo_alpha=0.7)),
        own("β-DPO", beta_dpo, "beta_dpo", beta_dpo_filter=0.25, **followed),
        own("β-DPO, half of the pairs", beta_dpo, "beta_dpo", beta_dpo_filter=0.5, **followed),
        own("ε-DPO", epsilon_dpo, "epsilon_dpo", beta=1.0, epsilon=0.1),
    ]
    print(json.dumps(dict(versions={k: md.version(k) for k in ("torch", "transformers")}, pairs=[dict(prompt=p["prompt"], chosen=p["chosen"] + [END], rejected=p["rejected"] + [END]) for p in PAIRS], cases=cases)), file=result)


if __name__ == "__main__":
    main()
