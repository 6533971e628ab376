"""A fit as one page that a colleague can read: which λ, why, and how sure that is.

The page holds everything it shows, the plotting library too, and fetches nothing. A
slider moves λ through the pictures of what it changes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from scipy.special import stdtrit

from jaxridge.account import at_edge, verdicts
from jaxridge.excerpt import counted
from jaxridge.figures import pictures
from jaxridge.intervals import Kept, coef_deviation
from jaxridge.plots import on_log_axis
from jaxridge.story import LISTED, Story, ends_of, short
from jaxridge.study import Study

LEVEL = 0.9  # of the intervals of coefficients


def page(story: Story, result: dict[str, Any]) -> str:
    """Return the page of a result, as result.json has it, as HTML."""
    loader = PackageLoader("jaxridge", ".")
    template = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined
    ).get_template("report.html")
    certificate = story.found.certificate
    each = list(enumerate(story.found.of_each_target()))
    halves = _half_intervals(story.kept)
    names = story.encoding.targets
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return template.render(
        title=f"Predicting {_listed(names)}",
        data=[line.strip() for line in story.said],
        score=story.trial.score,
        judged=story.trial.words,
        targets=[_of_target(story, result, j, one, halves[:, j]) for j, one in each],
        paths={str(j): _path(story, one) for j, one in each},
        certificate=_in_words(result, float(certificate.condition)),
        command=story.request.command,
        versions=f"{versions}; on {result['device']}",
        plotly_js=Markup(get_plotlyjs()),
    )


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _of_target(
    story: Story, result: dict[str, Any], j: int, found: Study, half: np.ndarray
) -> dict[str, Any]:
    """Return what the page says of one target."""
    of, simple = result["targets"][j], found.simplest
    order = found.order
    at = int(found.choice.index)
    known = bool(np.isfinite(half).all())
    largest = found.largest(LISTED)
    return {
        "id": j,
        "name": of["name"],
        "why": _why(story, of, found),
        "models": _models(of),
        "tested": _tested(of["test"], story.request.interval),
        "last": len(order) - 1,
        "at": int(np.flatnonzero(order == at)[0]),
        "simplest": None if simple is None else int(np.flatnonzero(order == simple)[0]),
        "pictures": pictures(story, j, found),
        "with_ends": known,
        "caption": (
            f"The largest of {counted(len(found.chosen.coef), 'coefficient')}, of "
            "columns as prepared, at the chosen λ"
            + (f", with {LEVEL:.0%} posterior intervals" if known else "")
        ),
        "coefficients": [
            [
                story.encoding.features[i],
                f"{found.chosen.coef[i]:.5g}",
                *(
                    f"{found.chosen.coef[i] + sign * half[i]:.5g}"
                    for sign in (-1, 1)
                    if known
                ),
                f"{found.raw.coef[i]:.5g}",
            ]
            for i in largest
        ],
    }


def _half_intervals(kept: Kept) -> np.ndarray:
    """Return half the length of each coefficient's interval, (n, t)."""
    return stdtrit(kept.freedom, (1 + LEVEL) / 2) * coef_deviation(kept)


def _why(story: Story, of: dict[str, Any], found: Study) -> str:
    score, count = story.trial.score, len(found.scores.lams)
    best = "greatest" if bool(found.scores.greater_is_better) else "least"
    if story.request.rule == "1se":
        why = (
            f"λ = {of['lam']:.6g} is the largest of {count} penalties whose {score} is "
            f"within one standard error of the {best}"
        )
    else:
        why = f"λ = {of['lam']:.6g} has the {best} {score} of {count} penalties"
    if of["at_edge"]:
        why += f", {at_edge(story.request, found)}"
    told = [f"{line[0].upper()}{line[1:]}." for line in verdicts(story.encoding, found)]
    return " ".join([f"{why}. They were judged by {story.trial.words}.", *told])


def _models(of: dict[str, Any]) -> list[tuple[str, str, str]]:
    error = of["standard_error"]
    spread = "" if error is None else f" ± {error:.3g}"
    chosen = f"{of['best']:.6g}{spread}"
    simpler = (("the mean alone", "mean_only"), ("λ = 0", "unpenalized"))
    return [
        (f"λ = {of['lam']:.6g}, chosen", chosen, "best"),
        *(
            (label, f"{of[key]:.6g}", key)
            for label, key in simpler
            if of[key] is not None
        ),
    ]


def _tested(test: dict[str, float] | None, level: float | None) -> str | None:
    if test is None:
        return None
    r2 = f", R² {test['r2']:.4f}" if "r2" in test else ""
    inside = ""
    if "covered" in test:
        inside = f"; intervals hold {test['covered']:.1%} (asked for: {level:.1%})"
    return (
        f"On {counted(int(test['rows']), 'test row')} that chose nothing: mean squared "
        f"error {test['mse']:.6g}{r2}{inside}."
    )


def _in_words(result: dict[str, Any], condition: float) -> str:
    made = result["certificate"]
    autodiff, by_hand = max(made["autodiff"]), max(made["by_hand"])
    digits = int(np.clip(-np.log10(max(autodiff, by_hand, 1e-16)), 0, 16))
    size = f"{condition:.0e}" if np.isfinite(condition) else "infinite"
    known = "" if np.isnan(condition) else f" The condition number is {size}."
    return (
        f"At the minimum of J its gradient is 0. At these coefficients it is at most "
        f"{autodiff:.0e} of its size at coef = 0 by automatic differentiation, and "
        f"{by_hand:.0e} by the formula: it is 0 to about {digits} digits.{known} "
        f"How coefficients were computed: {made['route']}. How scores were: "
        f"{made['scores_route']}."
    )


def _path(story: Story, found: Study) -> dict[str, Any]:
    """Return what the slider of a target moves through."""
    order, scores = found.order, found.scores
    lams = scores.lams[order]
    path = {
        "lams": lams.tolist(),
        "at": on_log_axis(lams).tolist(),
        "score": story.trial.score,
        "mean": scores.mean[order].tolist(),
        "error": scores.standard_error[order].tolist()
        if found.simplest is not None
        else None,
        "largest": short(found.params.coef[:, found.largest(LISTED)][order]),
        "line": None,
    }
    if story.feature is not None:
        columns = found.columns
        slope = found.params.coef[order, 0] / columns.scale[0]
        intercept = found.params.intercept[order] - columns.origin[0] * slope
        ends = ends_of(story.feature)
        path["line"] = short(intercept[:, None] + slope[:, None] * ends)
    return path
