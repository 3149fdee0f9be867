"""Golden of AlpacaEval's regularised length control (metrics/glm_winrate.py) on made data, by scikit-learn (pip install numpy scikit-learn).

The procedure: soft targets as doubled rows, liblinear with an L1 penalty, GroupKFold over 5 folds, ten strengths. `tol` is 1e-4 upstream and
1e-12 here as well, so that the optimum is told apart from where liblinear stops. Run: python make_length_control.py > length_control.json
"""
import json
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

rng = np.random.default_rng(7)
sigmoid = lambda z: 1 / (1 + np.exp(-z))
N = 60
difficulty = rng.normal(0, 1, N).round(4)
len_baseline = rng.integers(100, 3000, N)
len_model = rng.integers(100, 3000, N)
delta = (len_baseline - len_model).astype(float)
s = delta / delta.std(ddof=1)
preference = np.clip(sigmoid(-1.2 * np.tanh(s) + 0.8 * difficulty - 0.4 + rng.normal(0, 1.5, N)), 0, 1).round(6)
gamed_s = np.concatenate([rng.uniform(0.2, 2, N), rng.uniform(-2, -0.2, N)]).round(4)
gamed_difficulty = np.tile(difficulty, 2)
gamed_preference = np.clip(sigmoid(-1.5 * np.tanh(gamed_s) + rng.normal(0, 0.5, 2 * N)), 0, 1).round(6)

x = np.concatenate([
    np.stack([np.tanh(gamed_s), gamed_difficulty, np.zeros(2 * N)], 1),
    np.stack([np.tanh(s), difficulty, np.ones(N)], 1),
])
p = np.concatenate([gamed_preference, preference])
w = np.concatenate([np.full(2 * N, 0.1), np.ones(N)])
n = len(p)
x2, y2 = np.concatenate([x, x]), np.concatenate([np.ones(n), np.zeros(n)]).astype(int)
p2, w2, groups = np.concatenate([p, 1 - p]), np.concatenate([w, w]), np.concatenate([np.arange(n)] * 2)


def fit(rows, c, tol):
    m = LogisticRegression(C=c, l1_ratio=1, penalty="l1", solver="liblinear", fit_intercept=False, tol=tol, max_iter=100000, random_state=123)
    return m.fit(x2[rows], y2[rows], sample_weight=(p2 * w2)[rows]).coef_[0]


def loss(beta, rows):
    q = np.clip(sigmoid(x2[rows] @ beta), 1e-15, 1 - 1e-15)
    share = np.where(y2[rows] == 1, p2[rows], 1 - p2[rows])
    return -np.mean(w2[rows] * (share * np.log(q) + (1 - share) * np.log(1 - q)))


# Equal groups in stable order, dealt from the last: numpy's own order among equals depends on the machine.
stable = (n - 1 - groups) % 5
machine = np.empty(2 * n, int)
for f, (_, test) in enumerate(GroupKFold(5).split(x2, y2, groups)):
    machine[test] = f
out = {"scikit_learn": sklearn.__version__, "difficulty": difficulty.tolist(), "len_baseline": len_baseline.tolist(), "len_model": len_model.tolist(),
       "preference": preference.tolist(), "gamed_std_delta_len": gamed_s.tolist(), "gamed_preference": gamed_preference.tolist(),
       "folds_of_this_machine_are_stable": bool((machine == stable).all()), "strengths": np.logspace(-4, 4, 10).tolist(), "results": {}}
every = np.arange(2 * n)
for tol in (1e-4, 1e-12):
    losses, coefs = [], []
    for c in np.logspace(-4, 4, 10):
        losses.append(np.mean([loss(fit(every[stable != f], c, tol), every[stable == f]) for f in range(5)]))
        coefs.append(fit(every, c, tol).tolist())
    best = int(np.argmin(losses))
    lc = float(np.mean(sigmoid(coefs[best][1] * difficulty + coefs[best][2])))
    out["results"][str(tol)] = {"losses": losses, "coefficients": coefs, "best": best, "length_controlled_win_rate": lc}
print(json.dumps(out, indent=1))
