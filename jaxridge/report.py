"""A fit as one page that a colleague can read: which λ, why, and how sure that is.

The page holds everything it shows, the plotting library too, and fetches nothing. A
slider moves λ through the pictures of what it changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import ArrayLike
from plotly.offline import get_plotlyjs
from scipy.special import stdtrit

from jaxridge.account import Request, at_edge, simplest
from jaxridge.encoding import Encoding, Rows
from jaxridge.intervals import Kept, coef_deviation
from jaxridge.plots import on_log_axis, shortened
from jaxridge.study import Study
from jaxridge.trial import Trial
from jaxridge.unseen import Unseen

POINTS = 2000  # drawn of rows, at most
CURVES = 12  # coefficients drawn along λ
LISTED = 15  # coefficients in the table and the bars
LEVEL = 0.9  # of the intervals of coefficients
DIGITS = 4  # significant ones of what is only drawn
GREYS = ("solid", "dash", "dot", "dashdot")  # so that no curve is told by colour alone


@dataclass(frozen=True)
class Story:
    """What a page tells."""

    request: Request
    trial: Trial
    encoding: Encoding
    rows: Rows
    found: Study
    said: Sequence[str]  # of the data
    unseen: Unseen
    kept: Kept

    @property
    def feature(self) -> np.ndarray | None:
        """The one column, if there is one only."""
        return self.rows.X[:, 0] if self.rows.X.shape[1] == 1 else None


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
    of, simple = result["targets"][j], simplest(found)
    order = _order(found)
    at = int(found.choice.index)
    known = bool(np.isfinite(half).all())
    largest = _largest(found, LISTED)
    return {
        "id": j,
        "name": of["name"],
        "why": _why(story, of),
        "models": _models(of),
        "tested": _tested(of["test"], story.request.interval),
        "last": len(order) - 1,
        "at": int(np.flatnonzero(order == at)[0]),
        "simplest": None if simple is None else int(np.flatnonzero(order == simple)[0]),
        "pictures": _pictures(story, j, found),
        "with_ends": known,
        "caption": (
            f"The {len(largest)} largest of {len(found.chosen.coef)} coefficients, of "
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


def _why(story: Story, of: dict[str, Any]) -> str:
    score, count = story.trial.score, len(story.found.scores.lams)
    best = "greatest" if bool(story.found.scores.greater_is_better) else "least"
    if story.request.rule == "1se":
        why = (
            f"λ = {of['lam']:.6g} is the largest of {count} penalties whose {score} is "
            f"within one standard error of the {best}"
        )
    else:
        why = f"λ = {of['lam']:.6g} has the {best} {score} of {count} penalties"
    if of["at_edge"]:
        why += f", {at_edge(story.request)}"
    return f"{why}. They were judged by {story.trial.words}."


def _models(of: dict[str, Any]) -> list[tuple[str, str, str]]:
    error = of["standard_error"]
    spread = "" if error is None else f" ± {error:.3g}"
    chosen = f"{of['best']:.6g}{spread}"
    models = [(f"λ = {of['lam']:.6g}, chosen", chosen, "best")]
    for label, key in (("mean", "mean_only"), ("λ = 0", "unpenalized")):
        if of[key] is not None:
            of_key = "the mean alone" if label == "mean" else label
            models.append((of_key, f"{of[key]:.6g}", key))
    return models


def _tested(test: dict[str, float] | None, level: float | None) -> str | None:
    if test is None:
        return None
    r2 = f", R² {test['r2']:.4f}" if "r2" in test else ""
    inside = ""
    if "covered" in test:
        inside = f"; intervals hold {test['covered']:.1%} (asked for: {level:.1%})"
    return (
        f"On {test['rows']} test rows that chose nothing: mean squared error "
        f"{test['mse']:.6g}{r2}{inside}."
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


def _order(found: Study) -> np.ndarray:
    """Return the places of the penalties from the least to the largest."""
    return np.argsort(found.scores.lams, kind="stable")


def _largest(found: Study, count: int) -> np.ndarray:
    return np.argsort(-np.abs(found.chosen.coef), kind="stable")[:count]


def _path(story: Story, found: Study) -> dict[str, Any]:
    """Return what the slider of a target moves through."""
    order, scores = _order(found), found.scores
    lams = scores.lams[order]
    path = {
        "lams": lams.tolist(),
        "at": on_log_axis(lams).tolist(),
        "score": story.trial.score,
        "mean": scores.mean[order].tolist(),
        "error": scores.standard_error[order].tolist()
        if simplest(found) is not None
        else None,
        "largest": _short(found.params.coef[:, _largest(found, LISTED)][order]),
        "line": None,
    }
    if story.feature is not None:
        columns = found.columns
        slope = found.params.coef[order, 0] / columns.scale[0]
        intercept = found.params.intercept[order] - columns.origin[0] * slope
        ends = _ends(story.feature)
        path["line"] = _short(intercept[:, None] + slope[:, None] * ends)
    return path


def _short(values: ArrayLike) -> Any:
    """Return numbers for a picture, in few digits, so that the page stays small."""
    values = np.asarray(values)
    with np.errstate(divide="ignore"):
        size = np.floor(np.log10(np.abs(values), where=values != 0, out=values * 0))
    unit = 10.0 ** (DIGITS - size)
    return (np.round(values * unit) / unit).tolist()


def _ends(feature: np.ndarray) -> np.ndarray:
    return np.array([np.nanmin(feature), np.nanmax(feature)])


class Picture(NamedTuple):
    """A picture with its title."""

    title: str
    html: Markup


def _pictures(story: Story, j: int, found: Study) -> list[Picture]:
    seen = f"Predicted against actual at the chosen λ: {story.unseen.words}"
    made = {
        "validation": (f"{story.trial.score} at every λ", _validation(story, found)),
        "coefficients": ("Coefficients at every λ", _coefficients(story, found)),
        "largest": ("Largest coefficients at this λ", _bars(story, found)),
        "seen": (seen, _against(story, j)),
    }
    if story.feature is not None:
        line = _line(story, story.feature, j, found)
        made["line"] = ("The line fitted at this λ", line)
    return [
        Picture(title, _html(figure, f"{name}-{j}"))
        for name, (title, figure) in made.items()
    ]


def _html(figure: go.Figure, name: str) -> Markup:
    figure.update_layout(
        template="none",
        margin={"l": 60, "r": 10, "t": 10, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.25},
        modebar={"bgcolor": "rgba(0,0,0,0)"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    made = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        default_height="22rem",
        config={"displaylogo": False, "responsive": True},
    )
    return Markup(made)


def _marked(figure: go.Figure, lams: ArrayLike, chosen: float) -> None:
    """Draw a line at the chosen λ, the first shape, which the slider moves."""
    lams = np.asarray(lams)
    at = on_log_axis(np.append(lams, chosen))[-1]
    figure.add_shape(type="line", x0=at, x1=at, yref="paper", y0=0, y1=1)
    figure.update_xaxes(type="log", title="penalty λ", exponentformat="power")
    if lams[0] == 0:
        figure.update_xaxes(title="penalty λ (0 at the left end)")


def _validation(story: Story, found: Study) -> go.Figure:
    order, scores = _order(found), found.scores
    lams, mean = scores.lams[order], scores.mean[order]
    error = scores.standard_error[order]
    known = simplest(found) is not None
    figure = go.Figure(
        go.Scatter(
            x=on_log_axis(lams).tolist(),
            y=mean.tolist(),
            error_y={"array": error.tolist(), "thickness": 1} if known else None,
            customdata=lams.tolist(),
            hovertemplate="λ = %{customdata:.5g}: %{y:.5g}<extra></extra>",
            mode="lines+markers",
            line={"color": "#4c78a8"},
        )
    )
    _marked(figure, lams, float(found.choice.lam))
    return figure.update_yaxes(title=story.trial.score)


def _coefficients(story: Story, found: Study) -> go.Figure:
    order = _order(found)
    lams = found.scores.lams[order]
    figure = go.Figure()
    for place, i in enumerate(_largest(found, CURVES)):
        figure.add_scatter(
            x=on_log_axis(lams).tolist(),
            y=_short(found.params.coef[order, i]),
            name=_escaped(story.encoding.features[i]),
            mode="lines",
            line={"dash": GREYS[place % len(GREYS)]},
        )
    _marked(figure, lams, float(found.choice.lam))
    return figure.update_yaxes(title="coefficient of the prepared column")


def _bars(story: Story, found: Study) -> go.Figure:
    largest = _largest(found, LISTED)
    names = [_escaped(story.encoding.features[i]) for i in largest]
    # A range that holds the bars at every λ, so that they are seen to shrink.
    size = 1.05 * np.abs(found.params.coef[:, largest]).max(initial=0) or 1.0
    figure = go.Figure(
        go.Bar(
            x=found.chosen.coef[largest].tolist(),
            y=list(range(len(names))),
            orientation="h",
            marker={"color": "#4c78a8"},
        )
    )
    figure.update_xaxes(range=[-size, size], title="coefficient of the prepared column")
    # Names as ticks: numbers among them are not places on an axis.
    return figure.update_yaxes(
        autorange="reversed",
        zeroline=False,
        tickvals=list(range(len(names))),
        ticktext=names,
    )


def _against(story: Story, j: int) -> go.Figure:
    actual, predicted = story.unseen.actual[:, j], story.unseen.predicted[:, j]
    there = np.flatnonzero(np.isfinite(predicted))
    some = _some(there)
    low = float(min(actual[some].min(), predicted[some].min()))
    high = float(max(actual[some].max(), predicted[some].max()))
    figure = go.Figure()
    figure.add_scatter(
        x=_short(actual[some]),
        y=_short(predicted[some]),
        mode="markers",
        marker={"size": 5, "opacity": 0.6, "color": "#4c78a8"},
        showlegend=False,
    )
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"dash": "dot", "color": "#888888"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(title="actual")
    return figure.update_yaxes(title="predicted")


def _line(story: Story, feature: np.ndarray, j: int, found: Study) -> go.Figure:
    some = _some(np.flatnonzero(np.isfinite(feature)))
    ends = _ends(feature)
    figure = go.Figure()
    figure.add_scatter(
        x=_short(feature[some]),
        y=_short(story.rows.Y[some, j]),
        mode="markers",
        marker={"size": 5, "opacity": 0.6, "color": "#4c78a8"},
        showlegend=False,
    )
    figure.add_scatter(
        x=ends.tolist(),
        y=(found.raw.intercept + found.raw.coef[0] * ends).tolist(),
        mode="lines",
        line={"color": "#d1495b", "width": 3},
        showlegend=False,
    )
    figure.update_xaxes(title=_escaped(story.encoding.features[0]))
    return figure.update_yaxes(title=_escaped(story.encoding.targets[j]))


def _some(rows: np.ndarray) -> np.ndarray:
    """Return at most `POINTS` of rows, any of them."""
    if len(rows) <= POINTS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, POINTS, replace=False))


def _escaped(text: str) -> str:
    """Return text that Plotly, which reads some HTML in labels, shows as it is."""
    text = shortened(text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
