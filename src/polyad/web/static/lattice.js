// One lattice: struts and E(n) side by side; the tensor follows while sliders move.
import {download, post} from "./api.js";
import {amounts, fetchFreedom, modesOf, request, written} from "./model.js";
import {Pair, button, checkbox, figure, labelled, moduliTable, say, select, slider, tensorTable, trying} from "./parts.js";
import {address, choose, chosen, go, note} from "./state.js";

const {element: el, format} = Polyad;
let parts, params, last, busy = false, dirty = false;

export async function show(host, given) {
  params = new URLSearchParams(given);
  parts ??= build(host);
  const asked = await request(params);
  params.set("id", asked.id);
  note("lattice", params);
  parts.name.textContent = asked.name;
  await solve();
  await trying(() => showSliders(asked));
}

function build(host) {
  const camera = new Polyad.Camera(), made = {camera, name: el("h2"), facts: el("p", {className: "caption"}), sliders: el("div", {className: "sliders"}), moduli: el("div"), tensor: el("div"), tools: el("div", {className: "wide"})};
  made.pair = new Pair(camera, {toolbarHost: made.tools});
  const exporting = (kind) => button(kind === "report" ? "Report" : kind.toUpperCase(), (pressed) => trying(async () => {
    pressed.disabled = true;
    say("Writing …");
    try {
      say(`Saved ${await download({format: kind, lattices: [{name: last.name, lattice: last.lattice}]})}`);
    } finally {
      pressed.disabled = false;
    }
  }), {label: `Download as ${kind}`});
  host.append(
    el("div", {className: "heading"}, made.name, el("div", {className: "buttons"},
      button("Design from this", () => go("design", params), {className: "primary"}),
      button("Compare", () => {
        choose([...chosen().filter((one) => one !== params.toString()), params.toString()]);
        say("Added to Compare");
      }),
      button("Copy address", () => trying(async () => {
        await navigator.clipboard.writeText(location.origin + location.pathname + address("lattice", params));
        say("Address copied");
      })),
      button("Reset", () => go("lattice", {id: params.get("id")})))),
    made.facts,
    el("div", {className: "workbench"},
      figure("Struts", made.pair.struts), figure(["Stiffness ", made.pair.symbol], made.pair.surface, made.pair.range),
      el("div", {className: "card side"}, made.sliders), made.tools,
      figure("Moduli (Eₛ = 1)", made.moduli), figure("Tensor, Kelvin-Mandel (Eₛ = 1)", made.tensor)),
    el("div", {className: "controls below"}, el("span", {className: "caption", textContent: "Download:"}), ...["stl", "3mf", "json", "report"].map(exporting)),
  );
  return made;
}

// One solve at a time; what changes meanwhile is solved next, and what lies between is left out.
async function solve() {
  if (busy) return void (dirty = true);
  busy = true;
  try {
    do {
      dirty = false;
      const began = performance.now(), asked = await request(params), answer = await post("solve", asked.body);
      last = {...asked, ...answer};
      present(performance.now() - began);
    } while (dirty);
  } finally {
    busy = false;
  }
}

function present(milliseconds) {
  const {lattice, moduli, stiffness, mechanisms, density} = last;
  parts.pair.show(last);
  parts.name.textContent = last.name;
  parts.facts.textContent = `ρ = ${format(density)} · ${lattice.positions.length} nodes · ${lattice.radius.length} struts${mechanisms ? ` · ${mechanisms} mechanisms` : ""} · solved in ${Math.round(milliseconds)} ms`;
  parts.moduli.replaceChildren(moduliTable(moduli, [["mechanisms", String(mechanisms)]]));
  parts.tensor.replaceChildren(tensorTable(stiffness));
}

function change(key, value) {
  if (value === "" || value === null) params.delete(key);
  else params.set(key, value);
  note("lattice", params);
  return trying(solve);
}

async function showSliders(asked) {
  const id = asked.id, symmetry = params.get("sym") !== "0", freedom = await fetchFreedom(id, symmetry);
  const density = slider("relative density ρ", {
    least: -3, most: Math.log10(0.3), step: 0.005, place: Math.log10(asked.body.density), read: (x) => 10 ** x, change: (x) => change("density", x.toPrecision(4)),
  });
  const poisson = slider("Poisson’s ratio of the solid", {least: 0, most: 0.49, step: 0.01, place: asked.body.poisson_ratio, change: (x) => change("nu", x)});
  const keep = checkbox("Keep the symmetry", symmetry, (on) => {
    for (const key of ["n", "r"]) params.delete(key);
    change("sym", on ? "" : "0").then(() => trying(async () => showSliders(await request(params))));
  });
  const symbol = el("p", {className: "caption", textContent: freedom.symbol ? `Space group ${freedom.symbol}` : "Every node and strut by itself"});
  parts.sliders.replaceChildren(density, poisson, keep, symbol, strutSliders(freedom), nodeSliders(freedom, asked.body.lattice.positions.length));
}

function strutSliders(freedom) {
  const factors = amounts(params.get("r")), host = el("div", {className: "sliders"}), inner = el("div", {className: "sliders"});
  if (freedom.struts.length < 2) return el("p", {className: "caption", textContent: "All struts are alike: one radius, set by the density."});
  const fill = (orbit) => inner.replaceChildren(slider("radius, times", {
    least: -1, most: 1, step: 0.01, place: Math.log2(factors[orbit] ?? 1), read: (x) => 2 ** x, change: (x) => {
      factors[orbit] = x;
      change("r", written(factors, 1));
    },
  }));
  const names = Object.fromEntries(freedom.struts.map(({members}, k) => [k, members.length > 1 ? `${members.length} struts like ${members[0]}` : `strut ${members[0]}`]));
  host.append(labelled("Struts", select(names, "0", fill)), inner);
  fill("0");
  return host;
}

function nodeSliders(freedom, count) {
  const moves = amounts(params.get("n")), host = el("div", {className: "sliders"}), inner = el("div", {className: "sliders"});
  const free = freedom.nodes.map((orbit, k) => [k, orbit]).filter(([, orbit]) => orbit.modes === null || orbit.modes.length);
  if (!free.length) return el("p", {className: "caption", textContent: "Symmetry holds every node in its place."});
  const fill = (key) => {
    const orbit = freedom.nodes[key];
    inner.replaceChildren(...modesOf(orbit, count).map((mode, m) => slider(`move along [${mode[orbit.members[0]].map((x) => format(Math.abs(x) < 1e-9 ? 0 : x, 2)).join(", ")}]`, {
      least: -0.4, most: 0.4, step: 0.005, place: moves[`${key}.${m}`] ?? 0, show: (x) => `${format(x, 3)} ℓ`, change: (x) => {
        moves[`${key}.${m}`] = x;
        change("n", written(moves, 0));
      },
    })));
  };
  const names = Object.fromEntries(free.map(([k, {members}]) => [k, members.length > 1 ? `${members.length} nodes like ${members[0]}` : `node ${members[0]}`]));
  host.append(labelled("Nodes", select(names, String(free[0][0]), fill)), inner);
  fill(free[0][0]);
  return host;
}
