"""The page of a fit: whole as it is, true to result.json, and alive in a browser."""

import csv
import json
import re
import shlex
import shutil
from html import unescape

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from jaxridge.cli import main
from jaxridge.story import short

BROWSER = shutil.which("chromium")
LAMS = [0.0, 1.0, 10.0, 100.0]
FEATURE, TARGETS = "x <b>&", ("y </script>", "z")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Return the folder of a fit of two targets to one feature, with its page."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 50)
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([FEATURE, *TARGETS])
        noise = rng.normal(size=(50, 2))
        writer.writerows(np.column_stack([x, 3 * x + noise[:, 0], -x + noise[:, 1]]))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        main(
            [
                *("fit", str(folder / "data.csv"), "--report", "--out", str(folder)),
                *(word for name in TARGETS for word in ("--target", name)),
                *("--lambdas", ",".join(map(str, LAMS)), "--test", "0.2"),
            ]
        )
    assert ended.value.code == 0
    return folder


@pytest.fixture(scope="module")
def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def html(out):
    return (out / "report.html").read_text()


@pytest.fixture(scope="module")
def browser():
    """Return a browser, of the machine's own: none is downloaded."""
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, out):
    """Return a function that opens the page, and fails if the page complains."""
    said = []

    def open_page(**options):
        page = browser.new_page(**options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda sent: asked.append(sent.url))
        asked = []
        page.goto((out / "report.html").as_uri())
        assert [url.split(":")[0] for url in asked if "data:" not in url] == ["file"]
        return page

    yield open_page
    assert said == []


def scores(out, name):
    with (out / "scores.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["target"] == name]
    return {float(line["lambda"]): float(line["held-out MSE"]) for line in lines}


def test_numbers_that_are_drawn_are_told_apart_far_from_0():
    values = 1e6 + np.array([-1.26, 0.0, 3.14159, 12.5])
    np.testing.assert_allclose(short(values), values, rtol=0, atol=1e-3)
    assert short([0.0, 1234567.0, 1e-7]) == [0.0, 1234600.0, 1e-7]
    assert short([5.0, 5.0]) == [5.0, 5.0] and short([]) == []


def test_page_is_small_and_fetches_nothing(html):
    ours = html.replace(get_plotlyjs(), "")
    assert len(ours) < 200_000
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", ours)
    assert "default-src 'none'" in ours
    command = unescape(re.search(r"<pre>(.*)</pre>", ours)[1])
    assert shlex.split(command)[:2] == ["jaxridge", "fit"]
    assert all(name in shlex.split(command) for name in TARGETS)


def test_names_are_text_not_markup(html):
    ours = html.replace(get_plotlyjs(), "")
    assert "y &lt;/script&gt;" in ours and "x &lt;b&gt;&amp;" in ours
    assert "x <b>&" not in ours and "y </script>" not in ours


def test_numbers_are_those_of_the_result(opened, result, out):
    page = opened()
    for section, of in zip(
        page.locator("section.target").all(), result["targets"], strict=True
    ):
        for key in ("best", "mean_only", "unpenalized"):
            text = section.locator(f"[data-key={key}]").text_content()
            shown = float(text.split("±")[0])
            assert shown == pytest.approx(of[key], rel=1e-5)
        now = section.locator(".now")
        assert float(now.get_attribute("data-lam")) == of["lam"]
        text = section.text_content()
        assert f"{of['test']['mse']:.6g}" in text and f"λ = {of['lam']:.6g}" in text
        table = section.locator("table").last.locator("tbody tr td").all_text_contents()
        assert float(table[-1]) == pytest.approx(of["coef"][0], rel=1e-4)
        assert float(table[1]) < float(table[0]) < float(table[2])


def test_slider_moves_every_picture_of_its_target(opened, result, out):
    page = opened()
    name = TARGETS[1]
    of = scores(out, name)
    before = page.locator(".now").first.text_content()
    page.locator("#slider-1").focus()
    page.keyboard.press("End")
    for lam in sorted(LAMS, reverse=True):
        text = page.locator(".now").nth(1).text_content()
        assert f"λ = {lam:g}," in text
        shown = float(re.search(r"MSE ([\d.e+-]+)", text)[1])
        assert shown == pytest.approx(of[lam], rel=1e-5)
        at, bar, line = page.evaluate(
            """() => {
                const plot = name => document.getElementById(`${name}-1`);
                const shape = plot("validation").layout.shapes[0];
                const other = plot("coefficients").layout.shapes[0];
                return [[shape.x0, shape.x1, other.x0, other.x1],
                    plot("largest").data[0].x[0], Array.from(plot("line").data[1].y)];
            }"""
        )
        assert at == [lam or 0.1] * 4
        assert bar < 0 and line[1] < line[0]
        if lam == result["targets"][1]["lam"]:
            slope, intercept = (result["targets"][1][k] for k in ("coef", "intercept"))
            ends = page.evaluate("document.getElementById('line-1').data[1].x")
            expected = intercept + slope[0] * np.array(list(ends))
            np.testing.assert_allclose(line, expected, rtol=1e-3)
        page.keyboard.press("ArrowLeft")
    assert page.locator(".now").first.text_content() == before
    page.locator("section.target").nth(1).get_by_role("button", name="chosen λ").click()
    now = page.locator(".now").nth(1)
    assert float(now.get_attribute("data-lam")) == result["targets"][1]["lam"]


def test_names_that_are_numbers_are_no_places_on_an_axis(opened):
    page = opened()
    axis = page.evaluate(
        "document.getElementById('largest-0')._fullLayout.yaxis.ticktext"
    )
    assert axis == ["x &lt;b&gt;&amp;"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_by_day_and_by_night(opened, scheme):
    page = opened(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    text, back, drawn = page.evaluate(
        """() => {
            const style = getComputedStyle(document.body);
            const tick = document.querySelector("#validation-0 .xtick text");
            return [style.color, style.backgroundColor, getComputedStyle(tick).fill];
        }"""
    )
    assert drawn == text
    light = [np.mean(list(map(int, re.findall(r"\d+", c)))) for c in (text, back)]
    assert (light[0] > light[1] + 150) == (scheme == "dark")
    assert abs(light[0] - light[1]) > 150
