"""The pictures of a fit's page, which a slider moves λ through."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import ArrayLike

from jaxridge.plots import NAME, on_log_axis, shortened
from jaxridge.story import LISTED, Story, ends_of, short
from jaxridge.study import Study

POINTS = 2000  # drawn of rows, at most
CURVES = 12  # coefficients drawn along λ
LEGEND = 16  # characters of their names
BESIDE = 0.1  # decades beside the least and the largest λ
DASHES = ("solid", "dash", "dot", "dashdot")  # no curve is told by colour alone
BLUE = "#4c78a8"
DOTS = {
    "mode": "markers",
    "marker": {"size": 5, "opacity": 0.6, "color": BLUE},
    "showlegend": False,
}


class Picture(NamedTuple):
    """A picture with its title."""

    title: str
    html: Markup


def pictures(story: Story, j: int, found: Study) -> list[Picture]:
    """Return the pictures of target j."""
    seen = f"Predicted against actual at the chosen λ: {story.unseen.words}"
    made = {
        "validation": (f"{story.trial.score} at every λ", _validation(story, found)),
        "coefficients": ("Coefficients at every λ", _coefficients(story, found)),
        "largest": ("The largest coefficients, at this λ", _bars(story, found)),
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
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    made = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        default_height="22rem",
        config={"displayModeBar": False, "responsive": True},
    )
    return Markup(made)


def _marked(figure: go.Figure, lams: ArrayLike, chosen: float) -> None:
    """Draw a line at the chosen λ, the first shape, which the slider moves."""
    lams = np.asarray(lams)
    at = on_log_axis(np.append(lams, chosen))[-1]
    figure.add_shape(type="line", x0=at, x1=at, yref="paper", y0=0, y1=1)
    ends = np.log10(on_log_axis(lams)[[0, -1]]) + [-BESIDE, BESIDE]
    figure.update_xaxes(
        type="log", title="penalty λ", exponentformat="power", range=ends.tolist()
    )
    if lams[0] == 0:
        figure.update_xaxes(title="penalty λ (0 at the left end)")


def _validation(story: Story, found: Study) -> go.Figure:
    order, scores = found.order, found.scores
    lams, mean = scores.lams[order], scores.mean[order]
    error = scores.standard_error[order]
    at, figure = on_log_axis(lams).tolist(), go.Figure()
    if found.simplest is not None:
        figure.add_scatter(
            x=at + at[::-1],
            y=np.concatenate([mean + error, (mean - error)[::-1]]).tolist(),
            fill="toself",
            fillcolor="rgba(128,128,128,0.25)",
            line={"width": 0},
            mode="lines",
            name="± one standard error",
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=at,
        y=mean.tolist(),
        customdata=lams.tolist(),
        hovertemplate="λ = %{customdata:.5g}: %{y:.5g}<extra></extra>",
        mode="lines",
        line={"color": BLUE},
        name=story.trial.score,
    )
    _marked(figure, lams, float(found.choice.lam))
    return figure.update_yaxes(title=story.trial.score)


def _coefficients(story: Story, found: Study) -> go.Figure:
    order = found.order
    lams = found.scores.lams[order]
    figure = go.Figure()
    for place, i in enumerate(found.largest(CURVES)):
        figure.add_scatter(
            x=on_log_axis(lams).tolist(),
            y=short(found.params.coef[order, i]),
            name=_escaped(story.encoding.features[i], LEGEND),
            mode="lines",
            line={"dash": DASHES[place % len(DASHES)]},
        )
    _marked(figure, lams, float(found.choice.lam))
    return figure.update_yaxes(title="coefficient of the prepared column")


def _bars(story: Story, found: Study) -> go.Figure:
    largest = found.largest(LISTED)
    names = [_escaped(story.encoding.features[i]) for i in largest]
    # A range that holds the bars at every λ, so that they are seen to shrink.
    size = 1.05 * np.abs(found.params.coef[:, largest]).max(initial=0) or 1.0
    figure = go.Figure(
        go.Bar(
            x=found.chosen.coef[largest].tolist(),
            y=list(range(len(names))),
            orientation="h",
            marker={"color": BLUE},
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
    figure.add_scatter(x=short(actual[some]), y=short(predicted[some]), **DOTS)
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
    ends = ends_of(feature)
    figure = go.Figure()
    target = story.rows.Y[story.rows.counting, j]
    figure.add_scatter(x=short(feature[some]), y=short(target[some]), **DOTS)
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


def _escaped(text: str, most: int = NAME) -> str:
    """Return text that Plotly, which reads some HTML in labels, shows as it is."""
    text = shortened(text, most)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
