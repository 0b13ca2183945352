// A lattice as the address describes it: which one, at which density, with which nodes moved and radii changed.
import {get, post} from "./api.js";

export const START = "octet";

const known = new Map();

function remembered(key, ask) {
  if (!known.has(key)) {
    known.set(key, ask());
    known.get(key).catch(() => known.delete(key));
    if (known.size > 60) known.delete(known.keys().next().value);
  }
  return known.get(key);
}

// The id of the lattice to begin with.
export async function anyId() {
  const {rows} = await get("cells", {search: START, shelf: "named", limit: 20}), row = rows.find(({name}) => name === START) ?? rows[0];
  if (!row) throw new Error("the catalogue is still being read; try again in a moment");
  return row.id;
}

export const fetchLattice = (id) => remembered(`lattice ${id}`, () => get(`lattices/${encodeURIComponent(id)}`));

// The density is given to symmetry too: radii must differ as they do in the file
export const fetchFreedom = (id, symmetry) => remembered(`freedom ${id} ${symmetry}`, async () => post("freedom", {lattice: (await fetchLattice(id)).lattice, symmetry}));

// "2:1.5,4:0.8" to {2: 1.5, 4: 0.8}; keys of moves are "orbit.mode"
export function amounts(text) {
  const found = {};
  for (const part of (text ?? "").split(",")) {
    const [key, value] = part.split(":"), number = Number(value);
    if (key && Number.isFinite(number)) found[key] = number;
  }
  return found;
}

export function written(found, neutral) {
  return Object.entries(found).filter(([, value]) => value !== neutral).map(([key, value]) => `${key}:${Number(value.toPrecision(4))}`).join(",");
}

export function modesOf(orbit, nodes) {
  if (orbit.modes) return orbit.modes;
  return [0, 1, 2].map((axis) => Array.from({length: nodes}, (_, n) => [0, 1, 2].map((k) => Number(n === orbit.members[0] && k === axis))));
}

// The request that solves the lattice of some parameters.
export async function request(params) {
  const id = params.get("id") || (await anyId()), symmetry = params.get("sym") !== "0";
  const source = await fetchLattice(id), moves = amounts(params.get("n")), factors = amounts(params.get("r"));
  const lattice = {...source.lattice};
  const changed = Object.keys(moves).length + Object.keys(factors).length;
  if (changed) {
    const freedom = await fetchFreedom(id, symmetry);
    lattice.positions = lattice.positions.map((row) => [...row]);
    lattice.radius = [...lattice.radius];
    for (const [key, amount] of Object.entries(moves)) {
      const [orbit, mode] = key.split(".").map(Number), group = freedom.nodes[orbit];
      const shape = group && modesOf(group, lattice.positions.length)[mode];
      shape?.forEach((step, n) => step.forEach((x, k) => (lattice.positions[n][k] += amount * freedom.length * x)));
    }
    for (const [orbit, factor] of Object.entries(factors)) for (const e of freedom.struts[orbit]?.members ?? []) lattice.radius[e] *= factor;
  }
  const density = Number(params.get("density")) || source.density, poisson = params.get("nu");
  return {name: source.name + (changed ? " (changed)" : ""), id, body: {lattice, density, poisson_ratio: poisson === null ? 0.3 : Number(poisson)}};
}

// The same, solved: {name, id, lattice, stiffness, moduli, ...}
export async function solved(params) {
  const asked = await request(params);
  return {...asked, ...(await post("solve", asked.body))};
}
