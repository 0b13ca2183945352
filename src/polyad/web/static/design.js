// A design: choose what it is for, watch its path as it comes, stop it, keep it, take it away.
import {download, get, post} from "./api.js";
import {solved} from "./model.js";
import {MODULI, Pair, button, checkbox, figure, labelled, say, select, trying} from "./parts.js";
import {choose, chosen, go, note} from "./state.js";

const {element: el, format} = Polyad;
const OBJECTIVES = {
  isotropic: "Stiffest isotropic", stiff: "Stiffest along a direction", bulk: "Greatest bulk modulus", shear: "Greatest shear modulus",
  isotropy: "As isotropic as possible", auxetic: "Least Poisson’s ratio", poisson: "Poisson’s ratio of …", young: "Young’s modulus along a direction of …",
};
const DIRECTIONS = {"0,0,1": "z [001]", "1,0,0": "x [100]", "0,1,0": "y [010]", "1,1,0": "[110]", "1,1,1": "[111]"};

let parts, params, start, source, current;

export async function show(host, given) {
  params = new URLSearchParams(given);
  parts ??= build(host);
  fillForm();
  start = await solved(params);
  params.set("id", start.id);
  note("design", params);
  parts.name.textContent = `Design from ${start.name}`;
  parts.density.value ||= Number(start.density.toPrecision(4));
  if (!current || current.query !== startQuery()) parts.pair.show(start);
  await listDesigns();
  const job = params.get("job");
  if (job && current?.id !== job) watch(job);
}

const startQuery = () => ["id", "density", "n", "r", "sym", "nu"].map((key) => params.get(key) ?? "").join("|");

function field(value, step = "any", least) {
  return el("input", {type: "number", step, value, ...(least === undefined ? {} : {min: least})});
}

function build(host) {
  const camera = new Polyad.Camera(), made = {camera, name: el("h2"), tools: el("div", {className: "wide"}), status: el("p", {className: "caption", role: "status"}), plot: el("div", {className: "plot low"}), result: el("div"), list: el("ul")};
  made.pair = new Pair(camera, {toolbarHost: made.tools});
  made.objective = select(OBJECTIVES, "isotropic", fitForm);
  made.direction = select(DIRECTIONS, "0,0,1");
  made.goal = field(0);
  made.density = field("", "any", 0);
  made.tolerance = field(0.02, "any", 0);
  [made.starts, made.iterations, made.seed] = [field(1, 1, 1), field(100, 1, 1), field(0, 1, 0)];
  [made.diameter, made.overhang, made.clearance, made.size] = [field(""), field(""), field(""), field(10)];
  made.symmetry = checkbox("Keep the symmetry", false);
  made.vary = {positions: checkbox("Move nodes", true), radius: checkbox("Change radii", true), cell: checkbox("Change the cell", false)};
  made.begin = button("Start", begin, {className: "primary"});
  made.stop = button("Stop", () => trying(() => post(`design/${current.id}/stop`, {})));
  made.keep = button("Keep in the catalogue", keep);
  made.compare = button("Compare with its start", compareWithStart);
  made.files = ["stl", "3mf", "json", "report"].map((kind) => button(kind === "report" ? "Report" : kind.toUpperCase(), () => trying(async () => {
    say("Writing …");
    say(`Saved ${await download({format: kind, designs: [current.id], cell_mm: Number(made.size.value)})}`);
  }), {label: `Download the design as ${kind}`}));
  made.directionField = labelled("Direction", made.direction);
  made.goalField = labelled("Value", made.goal);
  made.toleranceField = labelled("Distance to isotropy, at most", made.tolerance);
  const form = el("form", {className: "card side"},
    el("fieldset", {}, el("legend", {textContent: "What for"}), labelled("Objective", made.objective), made.directionField, made.goalField, made.toleranceField, labelled("Relative density", made.density)),
    el("fieldset", {}, el("legend", {textContent: "What may change"}), ...Object.values(made.vary), made.symmetry),
    el("details", {}, el("summary", {textContent: "Printing and search"}),
      el("fieldset", {}, el("legend", {textContent: "Printer"}), labelled("Cell, mm", made.size), labelled("Least diameter, mm", made.diameter), labelled("Overhang, degrees", made.overhang), labelled("Clearance, mm", made.clearance)),
      el("fieldset", {}, el("legend", {textContent: "Search"}), labelled("Starts", made.starts), labelled("Steps", made.iterations), labelled("Seed", made.seed))),
    el("div", {className: "buttons"}, made.begin, made.stop), made.status);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  host.append(
    made.name,
    el("div", {className: "workbench"}, figure("Struts", made.pair.struts), figure(["Stiffness ", made.pair.symbol], made.pair.surface, made.pair.range), form, made.tools,
      figure("Path", made.plot), figure("Result", made.result, el("div", {className: "buttons below"}, made.keep, made.compare, ...made.files))),
    Object.assign(figure("Designs of this server", made.list), {className: "card below"}));
  parts = made;
  fitForm();
  finished(false);
  return made;
}

function fitForm() {
  const kind = parts.objective.value;
  parts.directionField.hidden = !["stiff", "young", "isotropic"].includes(kind) || kind === "isotropic";
  parts.goalField.hidden = !["poisson", "young"].includes(kind);
  parts.toleranceField.hidden = kind !== "isotropic";
}

function fillForm() {
  if (params.get("objective") in OBJECTIVES) parts.objective.value = params.get("objective");
  if (params.get("density")) parts.density.value = params.get("density");
  fitForm();
}

const numberOrNull = (input) => (input.value === "" ? null : Number(input.value));

function objective() {
  const direction = parts.direction.value.split(",").map(Number), goal = Number(parts.goal.value);
  return {
    isotropic: [{kind: "shear"}], stiff: [{kind: "stiff", direction}], young: [{kind: "stiff", direction, goal}], bulk: [{kind: "bulk"}], shear: [{kind: "shear"}],
    isotropy: [{kind: "isotropy"}], auxetic: [{kind: "poisson"}], poisson: [{kind: "poisson", goal}],
  }[parts.objective.value];
}

async function begin() {
  await trying(async () => {
    const kind = parts.objective.value, vary = Object.entries(parts.vary).filter(([, one]) => one.box.checked).map(([key]) => key);
    if (!vary.length) throw new Error("Let nodes, radii or the cell change.");
    const job = await post("design", {
      lattice: start.lattice, name: `${start.name}: ${OBJECTIVES[kind].toLowerCase()}`, objective: objective(), density: Number(parts.density.value), isotropic: kind === "isotropic" ? Number(parts.tolerance.value) : null,
      vary, symmetry: parts.symmetry.box.checked, starts: Number(parts.starts.value), iterations: Number(parts.iterations.value), seed: Number(parts.seed.value), poisson_ratio: start.body.poisson_ratio,
      minimum_diameter: numberOrNull(parts.diameter), overhang: numberOrNull(parts.overhang), clearance: numberOrNull(parts.clearance), cell_mm: Number(parts.size.value),
    });
    params.set("job", job.id);
    params.set("objective", kind);
    note("design", params);
    watch(job.id, start);
  });
}

// Follow a design from its first step, whether it runs or has ended.
function watch(id, from = null) {
  source?.close();
  current = {id, steps: [], from, query: startQuery()};
  finished(false);
  parts.stop.disabled = false;
  parts.result.replaceChildren();
  parts.status.textContent = "Waiting for a worker …";
  const mine = current;
  source = new EventSource(`api/design/${encodeURIComponent(id)}/events`);
  let waiting = false;
  source.addEventListener("step", (event) => {
    mine.steps.push(JSON.parse(event.data));
    if (waiting) return;
    waiting = true; // of steps that come within one frame the last is drawn
    requestAnimationFrame(() => {
      waiting = false;
      if (mine === current && !mine.result) follow(mine.steps.at(-1));
    });
  });
  source.addEventListener("done", (event) => {
    source.close();
    mine.result = JSON.parse(event.data);
    if (mine === current) present(mine);
  });
  source.addEventListener("failed", (event) => {
    source.close();
    parts.stop.disabled = true;
    parts.status.textContent = JSON.parse(event.data).error;
    say(JSON.parse(event.data).error, true);
    listDesigns();
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) parts.status.textContent = "This design is not known here any more.";
  });
}

function follow(step) {
  parts.pair.show(step);
  parts.status.textContent = `Step ${step.step}${step.start ? ` of start ${step.start + 1}` : ""}: objective ${format(step.objective, 5)}, E ${format(step.moduli.young)}`;
  drawPath(current.steps);
}

function present(job) {
  const {result, steps} = job, first = steps[0];
  drawPath(steps);
  parts.pair.show(result);
  const rows = [
    ...Object.entries(result.quantities).map(([name, value]) => [name, format(result.start_quantities[name]), format(value)]),
    ...Object.entries(MODULI).map(([key, name]) => [name, format(first?.moduli[key]), format(result.moduli[key])]),
    ["relative density", "", format(result.density)],
  ];
  parts.result.replaceChildren(
    el("p", {className: result.feasible ? "caption" : "warn", textContent: result.feasible ? `All constraints kept after ${result.iterations} steps (${result.reason}).` : result.complaint}),
    el("table", {}, el("thead", {}, el("tr", {}, ...["", "start", "reached"].map((text) => el("th", {scope: "col", textContent: text})))),
      el("tbody", {}, ...rows.map(([name, ...values]) => el("tr", {}, el("th", {scope: "row", textContent: name}), ...values.map((text) => el("td", {textContent: text})))))));
  parts.status.textContent = "Done.";
  finished(true);
  listDesigns();
}

function finished(done) {
  parts.stop.disabled = true;
  for (const one of [parts.keep, parts.compare, ...parts.files]) one.disabled = !done;
}

function drawPath(steps) {
  const starts = [...new Set(steps.map((step) => step.start))];
  Polyad.chart(parts.plot, (colours) => ({
    data: [
      ...starts.map((number) => ({x: steps.filter((s) => s.start === number).map((s) => s.step), y: steps.filter((s) => s.start === number).map((s) => s.objective), mode: "lines+markers", marker: {size: 4}, line: {width: 2, ...(number ? {} : {color: colours.accent})}, name: number ? `objective, start ${number + 1}` : "objective", hovertemplate: "step %{x}: %{y:.5g}<extra></extra>"})),
    ],
    layout: {xaxis: {title: "step"}, yaxis: {title: "objective (least is best)"}, showlegend: starts.length > 1},
  }));
}

async function keep() {
  await trying(async () => {
    const kept = await post(`design/${current.id}/keep`, {});
    current.kept = kept.id;
    say(`Kept as ${kept.title}`);
    return kept;
  });
}

async function compareWithStart() {
  await trying(async () => {
    current.kept ??= (await post(`design/${current.id}/keep`, {})).id;
    const own = new URLSearchParams([...params].filter(([key]) => ["id", "density", "n", "r", "sym", "nu"].includes(key)));
    own.set("density", Number(parts.density.value));
    choose([...chosen(), own.toString(), `id=${encodeURIComponent(current.kept)}`].filter((one, k, all) => all.indexOf(one) === k));
    go("compare");
  });
}

async function listDesigns() {
  const {designs} = await get("design");
  parts.list.replaceChildren(...designs.reverse().map(({id, name, state, steps}) => el("li", {}, button(name, () => {
    params.set("job", id);
    note("design", params);
    watch(id);
  }, {className: "link"}), ` ${state}, ${steps} points`)));
  if (!designs.length) parts.list.replaceChildren(el("li", {className: "caption", textContent: "None yet."}));
}
