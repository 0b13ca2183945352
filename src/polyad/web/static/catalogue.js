// The catalogue: a chart of any two properties with bounds, and a table to search and sort; click to open a lattice.
import {get, remove} from "./api.js";
import {COLUMNS, SHORT, button, labelled, say, select, trying} from "./parts.js";
import {chosen, go, note, read, toggle} from "./state.js";

const {element: el, format} = Polyad;
const PAGE = 50;
const SHOWN = ["density", "nodes", "struts", "connectivity", "young", "bulk", "shear", "poisson", "anisotropy", "mechanisms"];
const LOGARITHMIC = new Set(["density", "nodes", "struts", "young", "bulk", "shear", "young_min", "young_max", "anisotropy"]);
const UNITS = new Set(["young", "bulk", "shear", "young_min", "young_max"]);
const BOUNDED = {young: "E", bulk: "K", shear: "G"};

let parts, state, bounds, turn = 0;

const reading = (params) => ({
  search: params.get("search") ?? "", symmetry: params.get("symmetry") ?? "", shelf: params.get("shelf") ?? "", range: params.getAll("range"),
  sort: params.get("sort") ?? "name", descending: params.get("descending") === "1", page: Number(params.get("page") ?? 0),
  x: params.get("x") ?? "bulk", y: params.get("y") ?? "young",
});

export async function show(host, params) {
  state = reading(params);
  parts ??= build(host);
  const status = await get("status");
  fillSelects(status);
  parts.search.value = state.search;
  parts.x.value = state.x;
  parts.y.value = state.y;
  await refresh();
  if (status.loading) parts.total.textContent += " · still reading …";
}

function build(host) {
  const made = {table: el("tbody"), head: el("tr"), total: el("p", {className: "caption"}), chips: el("div", {className: "chips"}), plot: el("div", {className: "plot high"})};
  made.search = el("input", {type: "search", placeholder: "name or source"});
  let wait;
  made.search.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => change({search: made.search.value}), 150);
  });
  made.symmetry = select({"": "any"}, "", (symmetry) => change({symmetry}));
  made.shelf = select({"": "all"}, "", (shelf) => change({shelf}));
  made.forget = button("Forget file", forget);
  const pick = el("input", {type: "file", multiple: true, hidden: true});
  pick.addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("upload", {detail: [...pick.files]}));
    pick.value = "";
  });
  const column = select(COLUMNS, "young"), least = number("from"), most = number("to");
  const add = button("Add bound", () => {
    if (least.value === "" && most.value === "") return say("Give a least or a greatest value.", true);
    change({range: [...state.range, `${column.value}:${least.value}:${most.value}`]});
    least.value = most.value = "";
  });
  made.x = select(COLUMNS, state.x, (x) => change({x}));
  made.y = select(COLUMNS, state.y, (y) => change({y}));
  made.previous = button("Previous", () => change({page: state.page - 1}));
  made.next = button("Next", () => change({page: state.page + 1}));
  host.append(
    el("div", {className: "controls"}, labelled("Search", made.search), labelled("Symmetry", made.symmetry), labelled("Source", made.shelf), made.forget,
      button("Add file …", () => pick.click(), {className: "primary"}), pick),
    el("div", {className: "controls"}, labelled("Property", column), labelled("From", least), labelled("To", most), add), made.chips,
    el("div", {className: "card"}, el("div", {className: "controls"}, labelled("Across", made.x), labelled("Up", made.y)), made.plot),
    el("div", {className: "heading"}, made.total, el("div", {className: "buttons"}, made.previous, made.next)),
    el("div", {className: "sideways card", tabIndex: 0, role: "region", ariaLabel: "Table of lattices"}, el("table", {}, el("thead", {}, made.head), made.table)),
  );
  return made;
}

function number(placeholder) {
  return el("input", {type: "number", step: "any", placeholder});
}

function fillSelects(status) {
  const fill = (host, options, value) => {
    host.replaceChildren(...Object.entries(options).map(([key, text]) => el("option", {value: key, textContent: text})));
    host.value = value;
  };
  fill(parts.symmetry, {"": "any", ...Object.fromEntries(status.symmetries.map((name) => [name, name]))}, state.symmetry);
  fill(parts.shelf, {"": "all", ...Object.fromEntries(status.shelves.map(({key, title, rows}) => [key, `${title} (${rows.toLocaleString("en")})`]))}, state.shelf);
  parts.forget.hidden = !status.shelves.some(({key, kind}) => key === state.shelf && kind !== "named" && kind !== "file");
}

async function forget() {
  await trying(async () => {
    await remove(`shelves/${state.shelf}`);
    go("catalogue");
  });
}

function change(some) {
  Object.assign(state, {page: 0}, some);
  const params = new URLSearchParams();
  for (const key of ["search", "symmetry", "shelf", "sort", "x", "y"]) params.set(key, state[key]);
  for (const range of state.range) params.append("range", range);
  if (state.descending) params.set("descending", "1");
  if (state.page) params.set("page", state.page);
  note("catalogue", params);
  parts.forget.hidden ||= "shelf" in some;
  return trying(refresh);
}

async function refresh() {
  const mine = ++turn, {search, symmetry, shelf, range} = state, wanted = {search, symmetry, shelf, range};
  bounds ??= await get("bounds");
  const [{total, rows}, {points}] = await Promise.all([
    get("cells", {...wanted, sort: state.sort, descending: state.descending, offset: PAGE * state.page, limit: PAGE}),
    get("points", {...wanted, x: state.x, y: state.y}),
  ]);
  if (mine !== turn) return; // an older answer that came late
  showHead();
  parts.table.replaceChildren(...rows.map(line));
  const first = PAGE * state.page;
  parts.total.textContent = total ? `${(first + 1).toLocaleString("en")} to ${(first + rows.length).toLocaleString("en")} of ${total.toLocaleString("en")} lattices` : "No lattice fits. Remove a bound, or search for less.";
  parts.previous.disabled = !state.page;
  parts.next.disabled = first + rows.length >= total;
  parts.chips.replaceChildren(...state.range.map((text, k) => {
    const [column, least, most] = text.split(":");
    return button(`${least ? `${least} ≤ ` : ""}${SHORT[column] ?? column}${most ? ` ≤ ${most}` : ""} ✕`, () => change({range: state.range.filter((_, other) => other !== k)}), {label: `Remove the bound on ${COLUMNS[column] ?? column}`});
  }));
  drawPoints(points);
}

function showHead() {
  const heading = (key, text, className = "") => {
    const cell = el("th", {scope: "col", className, title: COLUMNS[key] ?? text}, button(text, () => change({sort: key, descending: state.sort === key ? !state.descending : SHOWN.includes(key)})));
    if (state.sort === key) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    return cell;
  };
  parts.head.replaceChildren(heading("name", "name"), heading("symmetry", "symmetry", "word"), ...SHOWN.map((key) => heading(key, SHORT[key])), el("th", {scope: "col", textContent: "compare"}));
}

function line(row) {
  const open = el("a", {href: `#/lattice?id=${encodeURIComponent(row.id)}`, textContent: row.name});
  const query = `id=${encodeURIComponent(row.id)}`, box = el("input", {type: "checkbox", checked: chosen().includes(query), ariaLabel: `Compare ${row.name}`});
  box.addEventListener("change", () => toggle(query));
  return el("tr", {}, el("td", {}, open), el("td", {className: "word", textContent: row.symmetry}), ...SHOWN.map((key) => el("td", {textContent: format(row[key])})), el("td", {}, box));
}

function drawPoints(points) {
  const {x, y} = state;
  const first = Polyad.chart(parts.plot, (colours) => {
    const tints = [colours.accent, colours.warn, colours.good, colours.bad, colours.soft], classes = [...new Set(points.map((p) => p.symmetry))].sort();
    const data = classes.map((name, k) => {
      const own = points.filter((p) => p.symmetry === name);
      return {
        x: own.map((p) => p.x), y: own.map((p) => p.y), text: own.map((p) => Polyad.plain(p.name)), customdata: own.map((p) => p.id), name: name || "none", mode: "markers", type: "scatter",
        marker: {color: tints[k % tints.length], size: 8, opacity: 0.8, symbol: ["circle", "diamond", "square", "cross", "triangle-up"][k % 5]},
        hovertemplate: `%{text}<br>${COLUMNS[x]} %{x:.4g}<br>${COLUMNS[y]} %{y:.4g}<extra></extra>`,
      };
    });
    data.push(...boundLines(points, colours));
    const axis = (key, values) => ({title: COLUMNS[key] + (UNITS.has(key) ? " (Eₛ)" : ""), ...Polyad.axisFor(values, LOGARITHMIC.has(key) && values.every((v) => v > 0))});
    return {data, layout: {shapes: boundShapes(points, colours), xaxis: axis(x, points.map((p) => p.x)), yaxis: axis(y, points.map((p) => p.y)), hovermode: "closest", clickmode: "event", dragmode: "zoom"}};
  });
  if (first) parts.plot.on("plotly_click", ({points: [point]}) => {
    if (point?.customdata && read().view === "catalogue") go("lattice", {id: point.customdata});
  });
}

// Hashin and Shtrikman's upper bounds: a curve over density, or lines where all lattices have one density.
function boundLines(points, colours) {
  const {x, y} = state, line = {color: colours.ink, width: 1.5, dash: "dash"};
  if (!points.length) return [];
  if (x === "density" && BOUNDED[y]) {
    const low = 0.7 * Math.min(...points.map((p) => p.x)), high = Math.min(1, 1.4 * Math.max(...points.map((p) => p.x)));
    const inside = bounds.density.map((rho, k) => [rho, bounds[y][k]]).filter(([rho]) => rho >= low && rho <= high);
    return [{x: inside.map(([rho]) => rho), y: inside.map(([, value]) => value), mode: "lines", name: `${BOUNDED[y]}: Hashin and Shtrikman’s bound (isotropic)`, line, hoverinfo: "skip"}];
  }
  const rho = oneDensity(points);
  if (rho === null || !(BOUNDED[x] || BOUNDED[y])) return [];
  // the lines are shapes; this single point, drawn as a line of no length, makes room for them
  const beyond = (key, value) => (BOUNDED[key] ? 1.3 * boundAt(key, rho) : value);
  return [{x: [beyond(x, points[0].x)], y: [beyond(y, points[0].y)], mode: "lines", name: `Hashin and Shtrikman’s bounds (isotropic, ρ = ${format(rho, 3)})`, line, hoverinfo: "skip"}];
}

function boundShapes(points, colours) {
  const {x, y} = state, rho = points.length && x !== "density" ? oneDensity(points) : null;
  if (!rho) return [];
  const line = {color: colours.ink, width: 1.5, dash: "dash"}, shapes = [];
  if (BOUNDED[x]) shapes.push({type: "line", x0: boundAt(x, rho), x1: boundAt(x, rho), yref: "paper", y0: 0, y1: 1, line});
  if (BOUNDED[y]) shapes.push({type: "line", y0: boundAt(y, rho), y1: boundAt(y, rho), xref: "paper", x0: 0, x1: 1, line});
  return shapes;
}

// between two densities of the server's table, on logarithms
function boundAt(key, rho) {
  const {density, [key]: values} = bounds, above = Math.max(1, density.findIndex((one) => one >= rho));
  const share = Math.log(rho / density[above - 1]) / Math.log(density[above] / density[above - 1]);
  return values[above - 1] * (values[above] / values[above - 1]) ** share;
}

function oneDensity(points) {
  const all = points.map((p) => p.density), least = Math.min(...all);
  return Math.max(...all) <= 1.01 * least ? least : null;
}
