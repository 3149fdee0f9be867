"""Classifiers of BCO's density ratio as TRL's trainer fits them, for test/model/density_ratio.test.ts: test/goldens/density_ratio.json.

    python test/goldens/make_density_ratio.py > test/goldens/density_ratio.json

scikit-learn 1.9.1: LogisticRegression(class_weight="balanced") on prompt embeddings, then the weights p / (1 - p + 1e-8), clamped (TRL 1.16's
BCOTrainer._get_udm_weight). TRL's solver stops at its tolerance; here it goes on to the minimum, which is one. Embeddings are a formula that the
test repeats: element j of point i is sin(0.7 + 12.9898 (j+1) + 78.233 i), with `shift` added to every third element of a positive point.
"""
import json
import math
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

# positive, negative, width, shift, scale. The last is told apart with ease: weights at both bounds.
CASES = [(40, 25, 6, 0.5, 1.0), (9, 31, 50, 0.2, 1.0), (1, 3, 1, 0.0, 1.0), (60, 60, 12, 1.5, 4.0)]


def points(positive, negative, width, shift, scale):
    return np.array([[scale * (math.sin(0.7 + 12.9898 * (j + 1) + 78.233 * i) + (shift if i < positive and j % 3 == 0 else 0.0)) for j in range(width)] for i in range(positive + negative)])


def main():
    cases = []
    for case in CASES:
        positive, negative = case[:2]
        x = points(*case)
        y = np.array([1] * positive + [0] * negative)
        fit = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-13, max_iter=1000).fit(x, y)
        p = fit.predict_proba(x[positive:])[:, 1]
        cases.append(dict(case=case, coef=fit.coef_[0].tolist(), intercept=float(fit.intercept_[0]), probabilities=p.tolist(), weights=np.clip(p / (1 - p + 1e-8), 0.5, 10.0).tolist()))
    json.dump(dict(version=sklearn.__version__, cases=cases), sys.stdout)
    print()


if __name__ == "__main__":
    main()
