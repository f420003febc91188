// Sorts, filters and opens. All text goes in as text: no string is ever parsed as HTML.
"use strict";

// ---------------------------------------------------------------------------------------------------------------------
// Building blocks

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const mean = (values) => {
  const there = values.filter((value) => value !== null);
  return there.length ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
};
const shown = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const SHORT = 12; // lines of a long table that are shown at first, as page.css says
const many = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------------------------
// Light and dark

const root = document.documentElement;
const themeButton = document.getElementById("theme");

function setTheme(theme) {
  root.dataset.theme = theme;
  themeButton.textContent = theme === "dark" ? "Light" : "Dark";
  themeButton.setAttribute("aria-pressed", theme === "dark");
  themeButton.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"}`);
}

function rememberedTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser may refuse storage to a page from a file
  }
}

setTheme(rememberedTheme() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
themeButton.addEventListener("click", () => {
  setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {} // then it holds until the page is left
});

// ---------------------------------------------------------------------------------------------------------------------
// Tables: sorted by a click on a column's head (and so by the keyboard), what has no value always last

function sortable(table) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const before = head.getAttribute("aria-sort");
    const turned = { ascending: "descending", descending: "ascending" };
    sort(table, head, turned[before] ?? head.dataset.first ?? "ascending");
  });
}

function sort(table, head, direction) {
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = Number(a) - Number(b);
    return sign * (Number.isNaN(numbers) ? a.localeCompare(b, "en", { numeric: true }) : numbers);
  });
  body.append(...rows.map(([, row]) => row));
}

function controls(section) {
  const table = section.querySelector("table.comparison");
  const filter = section.querySelector(".filter");
  const views = [...section.querySelectorAll("select.view")];
  const count = section.querySelector(".count");

  function narrow() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every((word) => row.cells[0].textContent.toLowerCase().includes(word));
    count.value = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  }

  function choose() {
    for (const head of table.tHead.rows[0].cells) {
      const hidden = views.some((view) => {
        const of = head.dataset[view.dataset.by];
        return of !== undefined && view.value !== "" && of !== view.value;
      });
      head.hidden = hidden;
      for (const row of table.tBodies[0].rows) row.cells[head.cellIndex].hidden = hidden;
    }
  }

  filter.addEventListener("input", narrow);
  for (const view of views) view.addEventListener("change", choose);
  narrow(); // a browser may have kept what was typed before
  choose();
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("main > section").forEach(controls);

// ---------------------------------------------------------------------------------------------------------------------
// What a cell opens

const drawer = document.getElementById("drawer");
const title = document.getElementById("drawer-title");
const body = document.getElementById("drawer-body");
const links = new Map(); // the first number of a method and ratio stands for all of them
for (const link of document.querySelectorAll("a.cell"))
  if (!links.has(link.getAttribute("href"))) links.set(link.getAttribute("href"), link);
const loaded = new Map();

function load(slug) {
  if (!loaded.has(slug)) {
    const packed = atob(document.getElementById(`${slug}-data`).textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    loaded.set(slug, new Response(stream).json());
  }
  return loaded.get(slug);
}

// The address says what is open: #comparison/method/ratio, or #comparison/method/ratio/key of a run
async function follow() {
  const [slug, method, ratio, key] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const link = links.get(`#${slug}/${method}/${ratio}`);
  if (!link) {
    if (drawer.open) drawer.close();
    return;
  }
  if (!("DecompressionStream" in window)) {
    title.textContent = "This browser is too old to open the runs";
    body.replaceChildren(html("p", {}, "The tables and figures of the page can be read all the same."));
  } else {
    const data = await load(slug);
    if (!drawer.open) drawer.showModal(); // first, as charts are drawn as wide as it is
    open(data, slug, method, ratio, key ?? "", link);
  }
  if (!drawer.open) drawer.showModal();
  title.focus();
}

function open(data, slug, method, ratio, key, link) {
  const section = document.getElementById(slug);
  title.textContent = `${link.dataset.label}, ratio ${ratio}`;
  const cell = `${method}/${ratio}`;
  const runs = data.runs.filter((run) => run.cell === cell);
  const every = runs.some((run) => run.scores);
  const chosen = every ? runs.filter((run) => run.scores && (key === "" || run.key === key)) : runs;
  const across = data.images.map((_, i) => (every ? chosen.map((run) => run.scores[i]) : [data.means?.[cell]?.[i] ?? null]))
    .map((values) => values.map((value) => (value === null ? null : value / 10000)));
  const lines = data.images.map((name, i) => {
    const there = across[i].filter((value) => value !== null);
    return {
      name,
      patient: data.patients[data.patient[i]],
      stratum: data.strata ? data.strata[data.stratum[i]] : "",
      score: mean(across[i]),
      low: there.length ? Math.min(...there) : null,
      high: there.length ? Math.max(...there) : null,
    };
  });
  const finished = runs.filter((run) => run.status === "done").length;
  const siblings = [...links.keys()].filter((href) => href.startsWith(`#${slug}/${method}/`));
  body.replaceChildren(
    html("p", { class: "about" }, section.querySelector("h2").textContent),
    siblings.length > 1
      ? html("p", { class: "siblings" }, "Ratio ", ...siblings.map((href) => html(
          "a",
          { href, ...(href === `#${slug}/${cell}` ? { "aria-current": "true" } : {}) },
          href.slice(href.lastIndexOf("/") + 1),
        )))
      : "",
    html("h3", {}, many(runs.length, "run")),
    runTable(runs),
    ...(finished ? scoreParts(data, slug, cell, key, runs, chosen, lines, every) : []),
    ...overlayPart(data, chosen),
    ...curvePart(key ? chosen : runs),
  );
  drawer.scrollTop = 0;
}

function runTable(runs) {
  const heads = ["Draw", "Seed", "Dice", "Steps", "Seconds", "Best at step", "Row"];
  const rows = runs.map((run) => [
    [String(run.draw), run.draw],
    [String(run.seed), run.seed],
    [run.status === "done" ? shown(run.dice) : run.status, run.dice],
    [String(run.steps), run.steps],
    [run.seconds.toFixed(0), run.seconds],
    [String(run.best ?? "–"), run.best],
    [html("a", { href: `runs/${encodeURIComponent(run.key)}.json` }, run.key), run.key],
  ]);
  return table(heads, rows, ["Row"]);
}

// A table whose columns named in `text` are not numbers; a cell is [what is shown, what it is sorted by]
function table(heads, rows, text) {
  const kind = (column) => (text.includes(heads[column]) ? {} : { class: "number" });
  const node = html("table", { class: "sortable" },
    html("thead", {}, html("tr", {}, ...heads.map((head, column) =>
      html("th", { scope: "col", ...kind(column) }, html("button", { type: "button" }, head))))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map(([content, value], column) =>
      html("td", { ...kind(column), ...(value === null || value === undefined ? {} : { "data-value": value }) }, content))))));
  sortable(node);
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") }, node);
}

function scoreParts(data, slug, cell, key, runs, chosen, lines, every) {
  const select = html("select", { id: "of" },
    html("option", { value: "" }, every && runs.length === 1 ? "the run" : `mean over ${many(runs.filter((run) => run.dice !== undefined).length, "run")}`),
    ...(every && runs.length > 1 ? runs.filter((run) => run.scores).map((run) =>
      html("option", { value: run.key }, `draw ${run.draw}, seed ${run.seed}${clash(runs, run) ? `, ${run.key.slice(-10)}` : ""}`)) : []));
  select.value = key;
  select.addEventListener("change", () => {
    location.hash = `${slug}/${cell}${select.value ? `/${select.value}` : ""}`;
  });
  const several = every && chosen.length > 1;
  const heads = ["Image", "Patient", ...(data.strata ? ["Stratum"] : []), "Dice", ...(several ? ["Lowest run", "Highest run"] : [])];
  const rows = lines.map((line) => [
    [line.name, line.name],
    [line.patient, line.patient],
    ...(data.strata ? [[line.stratum || "–", line.stratum]] : []),
    [shown(line.score), line.score],
    ...(several ? [[shown(line.low), line.low], [shown(line.high), line.high]] : []),
  ]);
  const scores = table(heads, rows, ["Image", "Patient", "Stratum"]);
  sort(scores.firstChild, scores.querySelector("thead tr").cells[heads.indexOf("Dice")], "ascending");
  const parts = [
    html("h3", {}, "Dice of every test image"),
    html("p", {}, html("label", { for: "of" }, "Shown: "), select),
    dots(lines),
    scores,
  ];
  if (lines.length > SHORT) {
    scores.classList.add("short");
    const more = html("button", { type: "button", class: "all" }, `Show all ${lines.length} images`);
    more.addEventListener("click", () => {
      scores.classList.remove("short");
      more.remove();
    });
    parts.push(more);
  }
  if (!every) parts.push(html("p", { class: "caption" }, "Of this comparison the page holds means over runs; every run's scores are in its row."));
  return parts;
}

const clash = (runs, run) => runs.filter((other) => other.draw === run.draw && other.seed === run.seed).length > 1;

function overlayPart(data, chosen) {
  const keys = new Set(chosen.map((run) => run.key));
  const found = (data.overlays ?? []).filter((overlay) => keys.has(overlay.key));
  if (!found.length) return [];
  const of = new Map(chosen.map((run) => [run.key, run]));
  return [
    html("h3", {}, "Overlays"),
    html("p", { class: "caption" },
      html("span", { class: "swatch truth" }), "truth ", html("span", { class: "swatch prediction" }), "prediction, drawn over the truth"),
    html("div", { class: "overlays" }, ...found.map((overlay) => {
      const run = of.get(overlay.key);
      const score = run.scores?.[data.images.indexOf(overlay.image)];
      const words = `${overlay.image}${score === null || score === undefined ? "" : `, Dice ${shown(score / 10000)}`}`;
      return html("figure", {},
        html("img", { src: `data:image/webp;base64,${overlay.picture}`, alt: `Truth and prediction on ${words}` }),
        html("figcaption", {}, words, keys.size > 1 ? ` (draw ${run.draw}, seed ${run.seed})` : ""));
    })),
  ];
}

// ---------------------------------------------------------------------------------------------------------------------
// Charts

function ticks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(Number((i * step).toPrecision(6)));
  return found;
}

// A frame with axes; x and y give the pixel of a value
function frame(width, height, xs, ys, name, xTicks) {
  const left = 44, right = 8, top = 8, bottom = 28;
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - left - right);
  const y = (value) => height - bottom - ((value - ys[0]) / (ys[1] - ys[0] || 1)) * (height - top - bottom);
  const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
  for (const tick of ticks(...ys, 4))
    node.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  for (const tick of xTicks ? ticks(...xs, Math.max(2, width / 90)) : [])
    node.append(svg("text", { x: x(tick), y: height - 10, "text-anchor": "middle" }, String(tick)));
  return [node, x, y];
}

function dots(lines) {
  const by = new Map();
  for (const line of lines.filter((line) => line.score !== null)) {
    if (!by.has(line.patient)) by.set(line.patient, []);
    by.get(line.patient).push(line);
  }
  const groups = [...by].map(([patient, images]) => [patient, images, mean(images.map((image) => image.score))])
    .sort((a, b) => a[2] - b[2]);
  const all = groups.flatMap(([, images]) => images);
  const width = Math.max(280, body.clientWidth - 40), height = 240;
  const low = Math.max(0, Math.floor(Math.min(...all.map((image) => image.score)) * 10) / 10);
  const words = `Dice of ${many(all.length, "test image")} of ${many(groups.length, "patient")}`;
  const [node, x, y] = frame(width, height, [-0.5, groups.length - 0.5], [low, 1], words, false);
  const space = (width - 52) / groups.length;
  groups.forEach(([patient, images, middle], place) => {
    images.forEach((image, i) => {
      const aside = images.length > 1 ? (i / (images.length - 1) - 0.5) * 0.5 : 0;
      const dot = svg("circle", { class: "dot", cx: x(place + aside), cy: y(image.score), r: 3 });
      dot.line = image;
      node.append(dot);
    });
    if (images.length > 1) node.append(svg("line", { class: "middle", x1: x(place - 0.35), x2: x(place + 0.35), y1: y(middle), y2: y(middle) }));
    if (space > 9 * patient.length) node.append(svg("text", { x: x(place), y: height - 10, "text-anchor": "middle" }, patient));
  });
  if (!node.querySelector("text[text-anchor=middle]"))
    node.append(svg("text", { x: x((groups.length - 1) / 2), y: height - 10, "text-anchor": "middle" }, `${many(groups.length, "patient")}, the worst first`));
  const middle = y(mean(all.map((image) => image.score)));
  node.append(svg("line", { class: "mean", x1: 44, x2: width - 8, y1: middle, y2: middle }));
  const usual = "A dot is an image, a bar its patient's mean, the dashed line the mean of all images. Point at a dot to read it.";
  const caption = html("p", { class: "caption" }, usual);
  node.addEventListener("pointerover", (event) => {
    node.querySelector(".picked")?.classList.remove("picked");
    const line = event.target.line;
    caption.textContent = line ? `${line.name}, patient ${line.patient}: Dice ${shown(line.score)}` : usual;
    if (line) event.target.classList.add("picked");
  });
  return html("figure", { class: "dots" }, node, caption);
}

// series: [[name, [[x, y], …]], …]; those of one name look the same and are named once
function curves(name, series, xName) {
  const drawn = series.map(([what, points]) => [what, points.filter(([, value]) => value !== null)]).filter(([, points]) => points.length);
  if (!drawn.length) return null;
  const points = drawn.flatMap(([, points]) => points);
  const values = points.map(([, value]) => value);
  const fromZero = name !== "Validation Dice";
  const width = Math.max(260, Math.min(body.clientWidth - 40, 380)), height = 190;
  const ends = [fromZero ? Math.min(0, ...values) : Math.floor(Math.min(...values) * 20) / 20, fromZero ? Math.max(...values) : Math.ceil(Math.max(...values) * 20) / 20];
  const [node, x, y] = frame(width, height, [0, Math.max(...points.map(([step]) => step))], ends, name, true);
  const names = [...new Set(drawn.map(([what]) => what))];
  for (const [what, points] of drawn) {
    const look = `curve s${names.indexOf(what) % 4}`;
    node.append(svg("path", { class: look, d: points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("") }));
  }
  const key = names.map((what, i) => html("span", {},
    svg("svg", { width: 26, height: 8, "aria-hidden": "true" }, svg("line", { class: `curve s${i % 4}`, x1: 0, x2: 26, y1: 4, y2: 4 })), what));
  return html("figure", {}, html("figcaption", {}, `${name} by ${xName}`), node, html("div", { class: "key caption" }, ...key));
}

function curvePart(runs) {
  const having = runs.filter((run) => run.training);
  if (!having.length) return [];
  const one = having.length === 1;
  const loss = having.flatMap((run) => {
    const { step = [], ...terms } = run.training;
    const zip = (values) => step.map((at, i) => [at, values[i]]);
    if (one) return Object.entries(terms).map(([term, values]) => [term, zip(values)]);
    const total = step.map((_, i) => Object.values(terms).reduce((sum, values) => (values[i] === null ? null : sum + values[i]), 0));
    return [["sum of the terms, one line a run", zip(total)]];
  });
  const validation = having.map((run) => [one ? "Dice" : "one line a run", (run.validation.step ?? []).map((at, i) => [at, run.validation.dice[i]])]);
  return [
    html("h3", {}, "Training"),
    html("div", { class: "curves" }, curves("Loss", loss, "step"), curves("Validation Dice", validation, "step")),
  ];
}

// ---------------------------------------------------------------------------------------------------------------------
// Opening and closing

document.getElementById("close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => {
  if (event.target === drawer) drawer.close(); // beside it
});
drawer.addEventListener("close", () => {
  const link = links.get(location.hash.split("/").slice(0, 3).join("/"));
  history.replaceState(null, "", location.hash.split("/")[0] || location.pathname);
  link?.focus({ preventScroll: false });
});
window.addEventListener("hashchange", follow);
window.addEventListener("resize", () => {
  if (drawer.open) follow();
});
follow();
