// Two or more lattices beside each other: drawings, surfaces, moduli, scaling laws, tensors.
import {download, post} from "./api.js";
import {solved} from "./model.js";
import {MODULI, Pair, button, figure, say, tensorTable, trying} from "./parts.js";
import {choose, chosen, go, note} from "./state.js";

const {element: el, format} = Polyad;
let camera, shown = [];

export async function show(host, params) {
  const given = params.getAll("with");
  if (given.length) choose(given);
  const queries = chosen();
  note("compare", queries.map((query) => ["with", query]));
  for (const {pair} of shown) pair.dispose(camera);
  shown = [];
  camera ??= new Polyad.Camera();
  if (!queries.length) {
    host.replaceChildren(el("p", {className: "empty", textContent: "Nothing is chosen yet: tick lattices in the catalogue, or press Compare on a lattice."}), button("Open the catalogue", () => go("catalogue"), {className: "primary"}));
    return;
  }
  const found = await Promise.all(queries.map((query) => solved(new URLSearchParams(query)).catch((error) => ({error, query}))));
  const lost = found.filter((one) => one.error);
  if (lost.length) say(`${lost.length} chosen ${lost.length === 1 ? "lattice is" : "lattices are"} not here any more: ${lost[0].error.message}`, true);
  const lattices = found.map((one, k) => ({...one, query: queries[k]})).filter((one) => !one.error);
  if (!lattices.length) return void host.replaceChildren(el("p", {className: "empty", textContent: "None of the chosen lattices can be shown."}), button("Clear", () => clear(), {}));
  const tools = el("div"), plot = el("div", {className: "plot"}), table = el("div", {className: "sideways", tabIndex: 0, role: "region", ariaLabel: "Moduli"});
  host.replaceChildren(
    el("div", {className: "heading"}, el("h2", {textContent: `${lattices.length} ${lattices.length === 1 ? "lattice" : "lattices"}`}), el("div", {className: "buttons"},
      button("Report", () => trying(async () => say(`Saved ${await download({format: "report", lattices: lattices.map(({name, lattice}) => ({name, lattice}))})}`))), button("Clear", clear))),
    el("div", {className: "columns"}, ...lattices.map(column)),
    tools, el("div", {className: "grid two"}, figure("Moduli (Eₛ = 1)", table), figure("Young’s modulus against density", plot)));
  tools.append(Polyad.toolbar(camera, tools));
  lattices.forEach((lattice, k) => shown[k].pair.show(lattice));
  showTable(table, lattices);
  const analysis = await post("analyse", {lattices: lattices.map(({name, lattice}) => ({name, lattice}))});
  showScaling(plot, lattices, analysis);
  showTable(table, lattices, analysis);
}

function clear() {
  choose([]);
  go("compare");
  document.querySelector("main > [data-view=compare]").replaceChildren(el("p", {className: "empty", textContent: "Nothing is chosen."}));
}

function column(lattice) {
  const pair = new Pair(camera);
  shown.push({pair});
  const drop = button("✕", () => {
    choose(chosen().filter((one) => one !== lattice.query));
    go("compare", chosen().map((query) => ["with", query]));
  }, {label: `Remove ${lattice.name}`});
  return el("article", {className: "card"},
    el("div", {className: "heading"}, el("h3", {}, el("a", {href: `#/lattice?${lattice.query}`, textContent: lattice.name}), el("small", {textContent: ` ρ = ${format(lattice.density)}`})), drop),
    pair.struts, pair.surface, pair.range, tensorTable(lattice.stiffness));
}

function showTable(host, lattices, analysis = null) {
  const rows = Object.entries(MODULI).map(([key, name]) => [name, ...lattices.map(({moduli}) => format(moduli[key]))]);
  rows.unshift(["relative density", ...lattices.map(({density}) => format(density))]);
  rows.push(["mechanisms", ...lattices.map(({mechanisms}) => String(mechanisms))]);
  if (analysis) {
    const at = (name) => [...Polyad.unpackArray(analysis.columns[name])];
    rows.push(["symmetry", ...analysis.symmetry.map((k) => analysis.classes[k])]);
    for (const [key, name] of [["exponent_young", "n of E ~ ρⁿ"], ["exponent_bulk", "n of K ~ ρⁿ"], ["exponent_shear", "n of G ~ ρⁿ"]]) rows.push([name, ...at(key).map((x) => format(x, 3))]);
  }
  host.replaceChildren(el("table", {},
    el("thead", {}, el("tr", {}, el("th"), ...lattices.map(({name}) => el("th", {scope: "col", textContent: name})))),
    el("tbody", {}, ...rows.map(([name, ...values]) => el("tr", {}, el("th", {scope: "row", textContent: name}), ...values.map((text) => el("td", {textContent: text})))))));
}

function showScaling(host, lattices, analysis) {
  const values = Polyad.unpackArray(analysis.scaling), factors = analysis.factors;
  const series = lattices.map(({name, density}, k) => ({name, x: factors.map((f) => f * density), y: factors.map((_, f) => values[3 * (k * factors.length + f)])}));
  Polyad.chart(host, (colours) => {
    const tints = [colours.accent, colours.warn, colours.good, colours.bad, colours.soft, colours.ink];
    const data = series.map(({name, x, y}, k) => ({x, y, name: Polyad.plain(name), mode: "lines+markers", line: {color: tints[k % 6], width: 1.5}, marker: {size: 7}, hovertemplate: "ρ %{x:.3g}<br>E %{y:.4g}<extra></extra>"}));
    return {data, layout: {xaxis: {title: "relative density ρ", ...Polyad.axisFor(series.flatMap(({x}) => x), true)}, yaxis: {title: "E (Eₛ)", ...Polyad.axisFor(series.flatMap(({y}) => y), true)}}};
  });
}
