"""The pages in a browser: figures are drawn, and fit a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--enable-logging=stderr",
]

PROBE = """
<script>
function tell() {
  const figures = [...document.querySelectorAll("figure.plot")];
  if (figures.some((f) => !f.querySelector(".xtitle"))) return setTimeout(tell, 100);
  parent.postMessage(JSON.stringify((() => { %s })()), "*");
}
addEventListener("load", tell);
</script>
"""
"""Ends a page: when its figures are drawn, it tells the page around it what
an expression has found."""

FRAME = """<!doctype html><iframe src="%s" width="%d" height="900"></iframe><pre></pre>
<script>
addEventListener("message", (e) => (document.querySelector("pre").textContent = e.data));
</script>
"""


def seen(address, tmp_path):
    """The elements of a page as a browser builds them.

    Fails if the page writes to the console. Skips the test if there is no browser.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")

    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000",
         "--dump-dom", address],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip

    assert "CONSOLE" not in done.stderr
    return done.stdout


def found_in(page, width, body, tmp_path):
    """What a function body in JavaScript returns on a page that is ``width`` pixels wide."""
    probe = page.with_name(f"probe-{page.name}")
    frame = page.with_name(f"frame-{page.name}")

    probe.write_text(page.read_text().replace("</body>", PROBE % body + "</body>"))
    frame.write_text(FRAME % (probe.name, width))
    try:
        (text,) = re.findall(r"<pre>(.*?)</pre>", seen(frame.as_uri(), tmp_path), re.S)
    finally:
        probe.unlink()
        frame.unlink()

    return json.loads(html.unescape(text))


@pytest.mark.slow
def test_a_browser_draws_the_figures(folder, tmp_path):
    drawn = seen((folder / "table/nvil_recipe.html").as_uri(), tmp_path)

    assert drawn.count('class="main-svg"') >= 6
    assert drawn.count("<button") >= 8


@pytest.mark.slow
def test_on_a_phone_figures_are_whole_and_their_names_below_them(folder, tmp_path):
    body = """
    const box = (element) => element.getBoundingClientRect();
    return [...document.querySelectorAll("figure.plot")].map((figure) => {
      const title = box(figure.querySelector(".xtitle"));
      const names = box(figure.querySelector(".names"));
      const wide = document.documentElement;
      const fits = wide.scrollWidth <= wide.clientWidth;
      return [title.right <= box(figure).right, title.bottom <= names.top, fits];
    });"""

    figures = found_in(folder / "table/lagging_synthetic.html", 375, body, tmp_path)

    assert len(figures) >= 2
    # In each: the title lies within the figure, the names below it, and the page does not scroll.
    assert all(map(all, figures)), figures


@pytest.mark.slow
def test_on_a_phone_the_index_shows_how_tables_stand(folder, tmp_path):
    body = (
        "return [...document.querySelectorAll('.bar')].map((bar) => "
        "bar.getBoundingClientRect().right);"
    )

    right_edges = found_in(folder / "index.html", 375, body, tmp_path)

    assert len(right_edges) == 4
    assert all(0 < right <= 375 for right in right_edges), right_edges


@pytest.mark.slow
def test_a_column_of_times_is_sorted_by_time(folder, tmp_path):
    body = """
    const table = document.querySelector("table.sortable");
    const place = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === "time");
    table.tHead.rows[0].cells[place].querySelector("button").click();
    const texts = [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
    return texts.filter((text) => text);"""
    units = {"s": 1, "min": 60, "h": 3600}

    times = found_in(folder / "table/nvil_recipe.html", 1200, body, tmp_path)

    # Both units occur, so sorting by the numbers alone would be noticed.
    assert {text.split()[1] for text in times} == {"min", "h"}
    seconds = [float(text.split()[0]) * units[text.split()[1]] for text in times]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_a_press_on_a_name_hides_its_lines(folder, tmp_path):
    body = """
    const figure = document.querySelectorAll("figure.plot")[1];
    const lines = () => figure.querySelectorAll(".scatterlayer .trace").length;
    const [before, button] = [lines(), figure.querySelector(".names button")];
    button.click();
    const hidden = [lines(), button.getAttribute("aria-pressed")];
    button.click();
    return [before, ...hidden, lines(), button.getAttribute("aria-pressed")];"""

    before, after, pressed, again, last = found_in(
        folder / "table/lagging_synthetic.html", 1200, body, tmp_path
    )

    assert after < before == again
    assert (pressed, last) == ("false", "true")
