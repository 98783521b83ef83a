// Draws the figures with Plotly and lets columns be sorted. Without this script every number still stands in a table.
"use strict";

function colours() {
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue("--text").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text }, axis };
}

const LINES = { solid: "\u2014", dash: "- -", dot: "\u00b7\u00b7\u00b7", dashdot: "-\u00b7-" };
const MARKERS = { circle: "\u25cf", "diamond-open": "\u25c7" };

// The names of what is drawn, in HTML, where they wrap as the page does. A press hides a name's lines or shows them again.
function legend(figure, place, data) {
  const list = document.createElement("ul");
  list.className = "names";
  for (const name of new Set(data.map((trace) => trace.name))) {
    const places = data.flatMap((trace, i) => (trace.name === name ? [i] : []));
    const { mode, line, marker } = data[places[0]];
    const mark = document.createElement("span");
    mark.textContent = mode === "lines" ? LINES[line.dash] : MARKERS[marker.symbol ?? "circle"];
    mark.style.color = (line ?? marker).color;
    mark.setAttribute("aria-hidden", "true");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(mark, ` ${name}`);
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(visible));
      places.forEach((i) => (data[i].visible = visible));
      draw(figure);
    });
    const item = document.createElement("li");
    item.append(button);
    list.append(item);
  }
  place.after(list);
}

const specs = new Map();

function draw(figure) {
  const place = figure.querySelector(".draw");
  if (!specs.has(figure)) {
    specs.set(figure, JSON.parse(figure.querySelector("script").textContent));
    legend(figure, place, specs.get(figure).data);
  }
  const spec = specs.get(figure);
  const { axis, ...page } = colours();
  const margin = { l: 60, r: 15, t: 10, b: 50 };
  const layout = { margin, showlegend: false, ...spec.layout, ...page };
  layout.xaxis = { ...axis, ...spec.layout.xaxis };
  layout.yaxis = { ...axis, ...spec.layout.yaxis };
  Plotly.react(place, [...spec.data], layout, { responsive: true, displayModeBar: false });
}

function drawAll() {
  document.querySelectorAll("figure.plot").forEach(draw);
}

const SECONDS = { s: 1, min: 60, h: 3600 };

// What a cell is sorted by: its first number, published ones stand in brackets, times have units.
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text.replace(/,/g, "").replace(/^[(<]/, ""));
  return { text, number: number * (SECONDS[text.split(" ").at(-1)] ?? 1) };
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
