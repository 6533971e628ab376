"""The tutorial, end to end: a formula, its gradient, a descent at each λ, a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import make_regression
from tabulate import tabulate

from jaxridge.descent import sweep
from jaxridge.files import written_aside
from jaxridge.gradient_check import check_gradient
from jaxridge.params import Params
from jaxridge.plots import figure, plot_fits, plot_history
from jaxridge.solvers import solve

LEARNING_RATE = 0.05


def tutorial(lams: Sequence[float], out: Path) -> str:
    """Return the tutorial as text, and write its pictures to `out`."""
    X, y = make_regression(
        n_samples=100, n_features=1, bias=10.0, noise=20.0, random_state=0
    )
    start = Params(np.zeros(1), np.array(0.0))
    fits = sweep(X, y, lams, learning_rate=LEARNING_RATE)
    exact = [solve(X, y, lam) for lam in lams]
    slopes, intercepts = fits.params.coef[:, 0], fits.params.intercept
    rows = [
        (
            f"{lam:g}",
            fits.history[i, -1],
            slopes[i],
            intercepts[i],
            exact[i].coef[0],
            abs(slopes[i] - exact[i].coef[0]),
            int(fits.steps[i]),
        )
        for i, lam in enumerate(lams)
    ]
    headers = ["lambda", "cost J", "slope", "intercept"]
    headers += ["closed form slope", "difference", "steps"]
    formats = ("g", ".3f", ".4f", ".4f", ".4f", ".1e", "d")
    pictures = [out / "fits.png", out / "history.png"]
    with written_aside(pictures[0]) as aside, figure(aside) as ax:
        plot_fits(X, y, fits, ax)
    with written_aside(pictures[1]) as aside, figure(aside) as ax:
        plot_history(fits, ax)
    return "\n".join(
        (
            "J = 1/(2m) sum((x * slope + intercept - y)^2) + lambda/(2m) * slope^2",
            f"on {len(y)} points of one feature, m = {len(y)}.",
            "",
            "1. Its gradient where the descent starts, slope = intercept = 0, lambda = "
            f"{lams[1]:g}:",
            "",
            str(check_gradient(start, X, y, lams[1])),
            "",
            f"2. Gradient descent, learning rate {LEARNING_RATE:g}, for every lambda",
            "   at once, beside the closed form:",
            "",
            tabulate(rows, headers, floatfmt=formats, disable_numparse=[0]),
            "",
            "The larger lambda, the flatter the line: at 0 it follows the points, at",
            f"{lams[-1]:g} it has almost given up on them.",
            "",
            "3. Pictures:",
            *(f"   {path}" for path in pictures),
        )
    )
