// Draws the figures with Plotly and lets columns be sorted. Without this script every number still stands in a table.
"use strict";

function colours() {
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue("--text").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text }, axis };
}

function draw(figure) {
  const place = figure.querySelector(".draw");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const { axis, ...page } = colours();
  const layout = { margin: { l: 60, r: 15, t: 15, b: 55 }, ...spec.layout, ...page };
  layout.xaxis = { ...axis, ...spec.layout.xaxis };
  layout.yaxis = { ...axis, ...spec.layout.yaxis };
  Plotly.react(place, spec.data, layout, { responsive: true, displayModeBar: false });
}

function drawAll() {
  document.querySelectorAll("figure.plot").forEach(draw);
}

function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return { text, number };
}

function sort(table, column, button) {
  const head = button.parentElement;
  const down = head.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (isNaN(x.number) !== isNaN(y.number)) return isNaN(x.number) ? 1 : -1; // rows without a number stay below
    const order = isNaN(x.number) ? x.text.localeCompare(y.text) : x.number - y.number;
    return down ? -order : order;
  });
  body.append(...rows);
}

document.querySelectorAll("table.sortable").forEach((table) => {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.dataset.sort === "no") return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(table, column, button));
  });
});

if (document.querySelector("figure.plot")) {
  const script = document.createElement("script");
  script.src = document.querySelector("script[src$='page.js']").src.replace("page.js", "plotly.min.js");
  script.addEventListener("load", drawAll);
  document.head.append(script);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
}
