// Sorts, filters and opens. Every string is inserted as text, never parsed as HTML.
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
const shown = (value) => (value === null || value === undefined ? "–" : value.toFixed(1).replace("-", "−"));
const percent = (value) => (value === null || value === undefined ? null : 100 * value);
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

document.querySelectorAll("table.sortable").forEach(sortable);

// ---------------------------------------------------------------------------------------------------------------------
// Choices, which act on every table; they are part of the address: #place?q=cdma&score=Dice

const CHOICES = { q: "search", score: "score", fraction: "fraction", in: "dataset" };
const control = (name) => document.getElementById(CHOICES[name]);
const empty = document.getElementById("empty");
const count = document.getElementById("count");
const pinned = new Set();
const methodTables = [...document.querySelectorAll("table[data-methods]")];
const tables = [...document.querySelectorAll("table.comparison")];
const names = new Map(); // of lines, read before a line has a pin
const methodOf = (line) => names.get(line);

function place() {
  return location.hash.slice(1).split("?")[0];
}

function addressed(where) {
  const chosen = new URLSearchParams();
  for (const name of Object.keys(CHOICES)) if (control(name).value) chosen.set(name, control(name).value);
  if (pinned.size) chosen.set("pin", [...pinned].join(","));
  if (empty.checked) chosen.set("all", "1");
  return `#${where}${chosen.size ? `?${chosen}` : ""}`;
}

function readChoices() {
  const chosen = new URLSearchParams(location.hash.split("?")[1] ?? "");
  for (const name of Object.keys(CHOICES)) control(name).value = chosen.get(name) ?? "";
  pinned.clear();
  for (const method of (chosen.get("pin") ?? "").split(",").filter(Boolean)) pinned.add(method);
  empty.checked = chosen.has("all");
  narrow();
}

function choose() {
  history.replaceState(null, "", addressed(place()) === "#" ? location.pathname : addressed(place()));
  narrow();
}

// Terms with a comma, a bar or the word "or" between them; a method is found by all words of any term
function found(name, search) {
  const terms = search.toLowerCase().split(/,|\||\bor\b/).map((term) => term.split(/\s+/).filter(Boolean));
  const asked = terms.filter((words) => words.length);
  return !asked.length || asked.some((words) => words.every((word) => name.toLowerCase().includes(word)));
}

function columnsOf(table, score, fraction) {
  const heads = [...table.tHead.rows[0].cells];
  const scored = score && heads.some((head) => head.dataset.score === score);
  const named = (head) => fractions.has(head.querySelector("span").textContent);
  const chosen = fraction && heads.some((head) => head.querySelector("span").textContent === fraction);
  return heads.map((head, column) => {
    if (column === 0) return true;
    if (head.classList.contains("block")) return !fraction;
    if (scored && head.dataset.score && head.dataset.score !== score) return false;
    return !(chosen && named(head) && head.querySelector("span").textContent !== fraction);
  });
}

function narrow() {
  const [search, score, fraction, part] = Object.keys(CHOICES).map((name) => control(name).value);
  const methods = new Set();
  const shown = new Set();
  for (const table of tables) {
    const visible = columnsOf(table, score, fraction);
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => (head.hidden = !visible[column]));
    const counted = heads.map((head, column) => visible[column] && column > 0 && Boolean(head.dataset.score));
    const ofMethods = "methods" in table.dataset;
    for (const line of table.tBodies[0].rows) {
      const method = methodOf(line);
      const cells = [...line.cells];
      cells.forEach((cell, column) => (cell.hidden = !visible[column]));
      const blank = counted.some(Boolean) && !cells.some((cell, column) => counted[column] && cell.dataset.value);
      const inBlock = !fraction || !line.dataset.block || line.dataset.block === fraction;
      const fits = !ofMethods || found(method, search) || pinned.has(method);
      line.hidden = !inBlock || !fits || (ofMethods && blank && !empty.checked);
      line.classList.toggle("pinned", pinned.has(method));
      const pin = cells[0].querySelector(".pin");
      if (pin) pin.setAttribute("aria-pressed", pinned.has(method));
      if (ofMethods && !table.closest("#speed")) {
        methods.add(method);
        if (!line.hidden) shown.add(method);
      }
    }
    if (ofMethods) table.tBodies[0].prepend(...[...table.tBodies[0].rows].filter((line) => pinned.has(methodOf(line))));
  }
  for (const details of document.querySelectorAll("details.comparison-part"))
    details.hidden = Boolean(part) && details.id !== part && details.id !== "speed";
  if (part) document.getElementById(part).open = true;
  count.value = shown.size < methods.size ? `${shown.size} of ${methods.size} methods` : "";
}

function offer(select, values) {
  select.append(...values.map((value) => html("option", {}, value)));
}

for (const table of tables)
  for (const line of table.tBodies[0].rows) names.set(line, line.cells[0].textContent.trim());
for (const table of methodTables)
  for (const line of table.tBodies[0].rows) {
    const pin = html("button", { type: "button", class: "pin", "aria-pressed": "false", title: "Keep in sight" }, "★");
    pin.addEventListener("click", () => {
      const method = methodOf(line);
      if (!pinned.delete(method)) pinned.add(method);
      choose();
    });
    line.cells[0].prepend(pin);
  }
const percentOf = (text) => parseFloat(text);
const heads = tables.flatMap((table) => [...table.tHead.rows[0].cells]);
const blocks = tables.flatMap((table) => [...table.tBodies[0].rows].map((line) => line.dataset.block));
const fractions = new Set([...blocks, ...heads.map((head) => head.querySelector("span").textContent)].filter((text) => /^[\d.]+ %$/.test(text ?? "")));
offer(control("score"), [...new Set(heads.map((head) => head.dataset.score).filter(Boolean))]);
offer(control("fraction"), [...fractions].sort((a, b) => percentOf(a) - percentOf(b)));
for (const name of Object.keys(CHOICES)) control(name).addEventListener("input", choose);
empty.addEventListener("change", choose);
document.getElementById("clear").addEventListener("click", () => {
  for (const name of Object.keys(CHOICES)) control(name).value = "";
  pinned.clear();
  empty.checked = false;
  choose();
});

// ---------------------------------------------------------------------------------------------------------------------
// What a cell opens

const drawer = document.getElementById("drawer");
const title = document.getElementById("drawer-title");
const body = document.getElementById("drawer-body");
const loaded = new Map();
const SHORT = 12; // lines of a long table that are shown at first, as page.css says

function load(slug) {
  if (!loaded.has(slug)) {
    const packed = atob(document.getElementById(`${slug}-data`).textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    loaded.set(slug, new Response(stream).json());
  }
  return loaded.get(slug);
}

// The address says what is open: #comparison/method/ratio, and then nothing, the key of a run, or vs/another method
async function follow() {
  const [slug, method, ratio, ...rest] = place().split("/").map(decodeURIComponent);
  const part = document.getElementById(slug);
  if (part?.matches("details.comparison-part")) {
    part.open = true;
    if (!ratio) part.scrollIntoView();
  }
  if (ratio && !("DecompressionStream" in window)) {
    title.textContent = "This browser is too old to open the runs";
    body.replaceChildren(html("p", {}, "The tables and figures of the page can be read all the same."));
    drawer.showModal();
    return;
  }
  const data = ratio && document.getElementById(`${slug}-data`) ? await load(slug) : null;
  if (!data?.runs.some((run) => run.cell === `${method}/${ratio}`)) {
    if (drawer.open) drawer.close();
    return;
  }
  if (!drawer.open) drawer.showModal(); // first, as charts are as wide as it is
  const key = rest.length === 1 ? rest[0] : "";
  const other = rest[0] === "vs" && data.runs.some((run) => run.cell === `${rest[1]}/${ratio}`) ? rest[1] : "";
  show(data, { slug, method, ratio, key, other });
  title.focus();
}

function show(data, place) {
  const { slug, method, ratio, key, other } = place;
  const at = (name) => data.runs.filter((run) => run.cell === `${name}/${ratio}`);
  const runs = at(method);
  const every = data.runs.some((run) => run.scores);
  const others = [...new Set(data.runs.map((run) => run.cell))]
    .filter((cell) => cell.endsWith(`/${ratio}`) && cell !== `${method}/${ratio}`)
    .map((cell) => cell.slice(0, cell.lastIndexOf("/")));
  const ratios = [...new Set(data.runs.map((run) => run.cell).filter((cell) => cell.startsWith(`${method}/`)))];
  title.textContent = `${data.methods[method]}, ratio ${ratio}`;
  const lines = other ? differences(data, place, runs, at(other), every) : scores(data, place, runs, every);
  const seen = key ? runs.filter((run) => run.key === key) : runs;
  body.replaceChildren(
    html("p", { class: "about" }, document.getElementById(`${slug}-title`).textContent),
    html(
      "p",
      { class: "siblings" },
      "Ratio ",
      ...ratios
        .sort((a, b) => a.split("/").at(-1) - b.split("/").at(-1))
        .map((cell) =>
          html(
            "a",
            { href: `#${slug}/${cell}`, ...(cell === `${method}/${ratio}` ? { "aria-current": "true" } : {}) },
            cell.split("/").at(-1),
          ),
        ),
    ),
    ...(data.about[`${method}/${ratio}`] ?? []).map((sentence) => html("p", { class: "fact" }, sentence)),
    paper(data.papers[method]),
    html("h3", {}, many(runs.length, "run")),
    runTable(runs),
    ...repeat(runs),
    ...(other
      ? [html("h3", {}, `${many(at(other).length, "run")} of ${data.methods[other]}`), runTable(at(other))]
      : []),
    ...(lines.some((line) => line.score !== null) ? scorePart(data, place, runs, others, every, lines) : []),
    ...overlayPart(data, seen),
    ...curvePart(data, seen),
  );
  drawer.scrollTop = 0;
}

// Per image, in points of 100: the mean over runs, the lowest and the highest
function scores(data, { method, ratio, key }, runs, every) {
  const chosen = runs.filter((run) => run.scores && (!key || run.key === key));
  const columns = every ? chosen.map((run) => run.scores) : [data.means[`${method}/${ratio}`] ?? []];
  return perImage(data, (i) => columns.map((column) => column[i]));
}

// Per image, where both have a score after the same draw and seed: this less the other
function differences(data, { method, ratio, other }, runs, theirs, every) {
  const twin = (run) => theirs.find((their) => their.draw === run.draw && their.seed === run.seed && their.scores);
  const pairs = every
    ? runs.filter((run) => run.scores && twin(run)).map((run) => [run.scores, twin(run).scores])
    : [[data.means[`${method}/${ratio}`] ?? [], data.means[`${other}/${ratio}`] ?? []]];
  return perImage(data, (i) =>
    pairs.map(([mine, their]) =>
      (mine[i] ?? null) === null || (their[i] ?? null) === null ? null : mine[i] - their[i],
    ),
  );
}

function perImage(data, valuesOf) {
  return data.images.map((name, i) => {
    const values = valuesOf(i)
      .filter((value) => value !== null && value !== undefined)
      .map((value) => value / 100);
    return {
      name,
      patient: data.patients[data.patient[i]],
      stratum: data.strata ? data.strata[data.stratum[i]] : "",
      score: mean(values),
      low: values.length ? Math.min(...values) : null,
      high: values.length ? Math.max(...values) : null,
      of: values.length,
    };
  });
}

function paper(link) {
  if (!link) return null;
  return html("p", {}, "Publication: ", html("a", { href: link, rel: "noreferrer", target: "_blank" }, link));
}

// The command of the first run, to be copied
function repeat(runs) {
  const command = runs[0].command;
  const copy = html("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => navigator.clipboard?.writeText(command).then(() => (copy.textContent = "Copied")));
  return [html("h3", {}, "Train the first run again"), html("p", { class: "command" }, html("code", {}, command), copy)];
}

// A button that saves a table as CSV
function saved(name, heads, lines) {
  const quoted = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const button = html("button", { type: "button", class: "all" }, "Save as CSV");
  button.addEventListener("click", () => {
    const text = [heads, ...lines].map((line) => line.map(quoted).join(",")).join("\n");
    const link = html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  return button;
}

function runTable(runs) {
  const heads = ["Draw", "Seed", "Dice", "Steps", "Seconds", "Best at step", "Record"];
  const rows = runs.map((run) => [
    [String(run.draw), run.draw],
    [String(run.seed), run.seed],
    [run.status === "done" ? shown(percent(run.dice)) : run.status, run.dice],
    [String(run.steps), run.steps],
    [run.seconds.toFixed(0), run.seconds],
    [String(run.best ?? "–"), run.best],
    [html("a", { href: `runs/${encodeURIComponent(run.key)}.json` }, run.key), run.key],
  ]);
  return table(heads, rows, ["Record"]);
}

// A table; columns named in `text` are not numbers; a cell is [what is shown, what it is sorted by]
function table(heads, rows, text) {
  const kind = (column) => (text.includes(heads[column]) ? { class: "text" } : {});
  const node = html(
    "table",
    { class: "sortable" },
    html(
      "thead",
      {},
      html(
        "tr",
        {},
        ...heads.map((head, column) =>
          html("th", { scope: "col", ...kind(column) }, html("button", { type: "button" }, html("span", {}, head))),
        ),
      ),
    ),
    html(
      "tbody",
      {},
      ...rows.map((row) =>
        html(
          "tr",
          {},
          ...row.map(([content, value], column) =>
            html(
              "td",
              { ...kind(column), ...(value === null || value === undefined ? {} : { "data-value": value }) },
              content,
            ),
          ),
        ),
      ),
    ),
  );
  sortable(node);
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") }, node);
}

function scorePart(data, { slug, method, ratio, key, other }, runs, others, every, lines) {
  const go = (rest) => {
    location.hash = addressed(`${slug}/${method}/${ratio}${rest ? `/${rest}` : ""}`);
  };
  const finished = runs.filter((run) => run.status === "done");
  const one = choice(
    "Shown",
    "of",
    key,
    [
      ["", finished.length === 1 ? "the run" : `mean over ${many(finished.length, "run")}`],
      ...(every && finished.length > 1 && !other
        ? finished.map((run) => [run.key, `draw ${run.draw}, seed ${run.seed}`])
        : []),
    ],
    go,
  );
  const against = choice(
    "Less those of",
    "vs",
    other,
    [["", "nothing"], ...others.map((name) => [name, data.methods[name]])],
    (name) => go(name && `vs/${name}`),
  );
  const what = other ? "Difference" : "Dice";
  const several = Math.max(...lines.map((line) => line.of)) > 1;
  const named = data.unit[0].toUpperCase() + data.unit.slice(1);
  const heads = [
    "Image",
    what,
    named,
    ...(data.strata ? ["Stratum"] : []),
    ...(several ? ["Lowest run", "Highest run"] : []),
  ];
  const rows = lines.map((line) => [
    [line.name, line.name],
    [shown(line.score), line.score],
    [line.patient, line.patient],
    ...(data.strata ? [[line.stratum || "–", line.stratum]] : []),
    ...(several
      ? [
          [shown(line.low), line.low],
          [shown(line.high), line.high],
        ]
      : []),
  ]);
  const images = table(heads, rows, ["Image", named, "Stratum"]);
  sort(images.firstChild, images.querySelector("thead tr").cells[1], "ascending");
  const parts = [
    html("h3", {}, `${other ? `Dice less that of ${data.methods[other]}, image by image` : "Dice of every test image"}${averaged(data)}`),
    html("p", { class: "controls" }, one, against),
    dots(data, lines, what),
    images,
  ];
  if (lines.length > SHORT) {
    images.classList.add("short");
    const more = html("button", { type: "button", class: "all" }, `Show all ${lines.length} images`);
    more.addEventListener("click", () => {
      images.classList.remove("short");
      more.remove();
    });
    parts.push(more);
  }
  parts.push(saved(`${method}-${ratio}`, heads, rows.map((line) => line.map(([, value]) => value))));
  if (!every)
    parts.push(
      html(
        "p",
        { class: "caption" },
        "Of this comparison the page holds means over runs; every run's scores are in its record.",
      ),
    );
  return parts;
}

function choice(words, id, value, options, go) {
  const select = html("select", { id }, ...options.map(([name, text]) => html("option", { value: name }, text)));
  select.value = value;
  select.addEventListener("change", () => go(select.value));
  return html("label", { for: id }, `${words} `, select);
}

function overlayPart(data, chosen) {
  const keys = new Set(chosen.map((run) => run.key));
  const found = (data.overlays ?? []).filter((overlay) => keys.has(overlay.key));
  if (!found.length) return [];
  const of = new Map(chosen.map((run) => [run.key, run]));
  return [
    html("h3", {}, "Overlays"),
    html("p", { class: "caption" }, ...overlayKey(data.classes)),
    html(
      "div",
      { class: "overlays" },
      ...found.map((overlay) => {
        const run = of.get(overlay.key);
        const score = run.scores?.[data.images.indexOf(overlay.image)];
        const words = `${overlay.image}${score === null || score === undefined ? "" : `, Dice ${shown(score / 100)}`}`;
        return html(
          "figure",
          {},
          html("img", { src: `data:image/webp;base64,${overlay.picture}`, alt: `Truth and prediction on ${words}` }),
          html("figcaption", {}, words, keys.size > 1 ? ` (draw ${run.draw}, seed ${run.seed})` : ""),
        );
      }),
    ),
  ];
}

function overlayKey(classes) {
  if (classes > 1) return ["Truth on the left, prediction on the right; colours tell the classes."];
  const swatch = (what) => html("span", { class: `swatch ${what}` });
  return [swatch("truth"), "truth ", swatch("prediction"), "prediction, over the truth"];
}

// ---------------------------------------------------------------------------------------------------------------------
// Charts

const [LEFT, RIGHT, TOP, BOTTOM] = [40, 16, 8, 28]; // pixels around a chart
const wide = () => Math.max(260, body.clientWidth - 2 * parseFloat(getComputedStyle(body).paddingLeft));

function ticks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1)
    found.push(Number((i * step).toPrecision(6)));
  return found;
}

// A frame with axes; x and y give the pixel of a value
function frame(width, height, xs, ys, name, xTicks) {
  const x = (value) => LEFT + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - ((value - ys[0]) / (ys[1] - ys[0] || 1)) * (height - TOP - BOTTOM);
  const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
  for (const tick of ticks(...ys, 4))
    node.append(
      svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)),
    );
  for (const tick of xTicks ? ticks(...xs, Math.max(2, width / 90)) : [])
    node.append(svg("text", { x: x(tick), y: height - 10, "text-anchor": "middle" }, String(tick)));
  return [node, x, y];
}

function dots(data, lines, what) {
  const by = new Map();
  for (const line of lines.filter((line) => line.score !== null)) {
    if (!by.has(line.patient)) by.set(line.patient, []);
    by.get(line.patient).push(line);
  }
  const groups = [...by]
    .map(([patient, images]) => [patient, images, mean(images.map((image) => image.score))])
    .sort((a, b) => a[2] - b[2]);
  const all = groups.flatMap(([, images]) => images);
  const values = all.map((image) => image.score);
  const [width, height] = [wide(), 240];
  const low = Math.floor(Math.min(...values) / 10) * 10;
  const high = what === "Dice" ? 100 : Math.ceil(Math.max(...values) / 10) * 10;
  const units = `${groups.length} ${groups.length === 1 ? data.unit : data.units}`;
  const words = `${what} of ${many(all.length, "test image")} of ${units}`;
  const [node, x, y] = frame(width, height, [-0.5, groups.length - 0.5], [low, Math.max(high, low + 10)], words, false);
  const along = (value, look) =>
    node.append(svg("line", { class: look, x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
  const under = (place, text) =>
    node.append(svg("text", { x: x(place), y: height - 10, "text-anchor": "middle" }, text));
  if (low < 0) along(0, "zero");
  const space = (width - LEFT - RIGHT) / groups.length;
  const named = groups.every(([patient]) => space > 8 * patient.length);
  if (!named)
    under(
      (groups.length - 1) / 2,
      `${units}, the ${what === "Dice" ? "worst" : "lowest"} first`,
    );
  groups.forEach(([patient, images, middle], place) => {
    images.forEach((image, i) => {
      const aside = images.length > 1 ? (i / (images.length - 1) - 0.5) * 0.5 : 0;
      const dot = svg("circle", { class: "dot", cx: x(place + aside), cy: y(image.score), r: 3 });
      dot.line = image;
      node.append(dot);
    });
    if (images.length > 1)
      node.append(
        svg("line", { class: "middle", x1: x(place - 0.35), x2: x(place + 0.35), y1: y(middle), y2: y(middle) }),
      );
    if (named) under(place, patient);
  });
  along(mean(values), "mean");
  const usual =
    `A dot is an image, a bar the mean of its ${data.unit}, the dashed line the mean of all images. ` +
    "Point at a dot to read it.";
  const caption = html("p", { class: "caption" }, usual);
  node.addEventListener("pointerover", (event) => {
    node.querySelector(".picked")?.classList.remove("picked");
    const line = event.target.line;
    caption.textContent = line ? `${line.name}, ${data.unit} ${line.patient}: ${what} ${shown(line.score)}` : usual;
    if (line) event.target.classList.add("picked");
  });
  return html("figure", { class: "dots" }, node, caption);
}

// series: [[name, [[x, y], …]], …]; those of one name look the same and are named once
function curves(name, series) {
  const lines = series
    .map(([what, points]) => [what, points.filter(([, value]) => value !== null)])
    .filter(([, points]) => points.length);
  if (!lines.length) return null;
  const points = lines.flatMap(([, points]) => points);
  const values = points.map(([, value]) => value);
  const fromZero = !name.startsWith("Validation Dice");
  const [width, height] = [Math.min(wide(), 380), 190];
  const ends = fromZero
    ? [Math.min(0, ...values), Math.max(...values)]
    : [Math.floor(Math.min(...values) / 5) * 5, Math.ceil(Math.max(...values) / 5) * 5];
  const [node, x, y] = frame(width, height, [0, Math.max(...points.map(([step]) => step))], ends, name, true);
  const names = [...new Set(lines.map(([what]) => what))];
  for (const [what, points] of lines) {
    const look = `curve s${names.indexOf(what) % 4}`;
    node.append(
      svg("path", {
        class: look,
        d: points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join(""),
      }),
    );
  }
  const key = names.map((what, i) =>
    html(
      "span",
      {},
      svg(
        "svg",
        { width: 26, height: 8, "aria-hidden": "true" },
        svg("line", { class: `curve s${i % 4}`, x1: 0, x2: 26, y1: 4, y2: 4 }),
      ),
      what,
    ),
  );
  return html(
    "figure",
    {},
    html("figcaption", {}, `${name} by step`),
    node,
    html("div", { class: "key caption" }, ...key),
  );
}

// what a Dice of several classes is
function averaged(data) {
  return data.classes > 1 ? ", mean over classes" : "";
}

function curvePart(data, runs) {
  const having = runs.filter((run) => run.training);
  if (!having.length) return [];
  const one = having.length === 1;
  const loss = having.flatMap((run) => {
    const { step = [], ...terms } = run.training;
    const zip = (values) => step.map((at, i) => [at, values[i]]);
    if (one) return Object.entries(terms).map(([term, values]) => [term, zip(values)]);
    const total = step.map((_, i) =>
      Object.values(terms).reduce((sum, { [i]: value }) => (sum === null || value === null ? null : sum + value), 0),
    );
    return [["sum of the terms, one line a run", zip(total)]];
  });
  const validation = having.map((run) => [
    one ? "Dice" : "one line a run",
    (run.validation.step ?? []).map((at, i) => [at, percent(run.validation.dice[i])]),
  ]);
  return [
    html("h3", {}, "Training"),
    html("div", { class: "curves" }, curves("Loss", loss), curves(`Validation Dice${averaged(data)}`, validation)),
  ];
}

// ---------------------------------------------------------------------------------------------------------------------
// Opening and closing

document.getElementById("close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => {
  if (event.target === drawer) drawer.close(); // beside it
});
drawer.addEventListener("close", () => {
  if (place().includes("/")) history.replaceState(null, "", addressed(place().split("/")[0]));
});
const closed = []; // tables that are opened only to be printed
window.addEventListener("beforeprint", () => {
  closed.push(...document.querySelectorAll("details:not([open])"));
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of closed.splice(0)) details.open = false;
});
window.addEventListener("hashchange", () => {
  if (!location.hash.includes("?")) history.replaceState(null, "", addressed(place())); // a link keeps the choices
  readChoices();
  follow();
});
let width = innerWidth; // a phone's height changes while it is scrolled; only the width needs new charts
window.addEventListener("resize", () => {
  if (drawer.open && innerWidth !== width) follow();
  width = innerWidth;
});
readChoices();
follow();
