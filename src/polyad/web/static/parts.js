// Pieces that views share: drawing and stiffness surface side by side, tables of moduli and tensors, labelled fields.
const {element: el, format} = Polyad;

export const COLUMNS = {
  density: "relative density ρ", nodes: "nodes", struts: "struts", connectivity: "struts a node Z", mechanisms: "mechanisms",
  young: "Young’s modulus E", bulk: "bulk modulus K", shear: "shear modulus G", poisson: "Poisson’s ratio ν", anisotropy: "anisotropy A",
  young_min: "least E", young_max: "greatest E", poisson_min: "least ν", poisson_max: "greatest ν", zener: "Zener’s ratio", exponent: "exponent of E(ρ)",
};

export const SHORT = {
  density: "ρ", nodes: "nodes", struts: "struts", connectivity: "Z", mechanisms: "mech.", young: "E", bulk: "K", shear: "G", poisson: "ν", anisotropy: "A",
  young_min: "E min", young_max: "E max", poisson_min: "ν min", poisson_max: "ν max", zener: "Zener", exponent: "n",
};

export const MODULI = {young: "E (Hill)", bulk: "K (Hill)", shear: "G (Hill)", poisson: "ν (Hill)", anisotropy: "A (universal)", young_100: "E [100]", young_110: "E [110]", young_111: "E [111]"};

// Struts and E(n) under one camera.
export class Pair {
  constructor(camera, {toolbarHost} = {}) {
    this.struts = el("div", {className: "drawing"});
    this.surface = el("div", {className: "drawing"});
    this.symbol = el("span", {textContent: "E(n)"});
    this.panel = new Polyad.LatticePanel(this.struts, camera, {label: "The lattice in three dimensions"});
    this.scene = new Polyad.Scene(this.surface, camera, {
      label: "Stiffness by direction", fade: 0.08,
      describe: ({value, direction}) => `${this.quantity.symbol} = ${format(value)} along [${direction.map((x) => x.toFixed(2)).join(", ")}]`,
    });
    this.range = el("p", {className: "caption"});
    if (toolbarHost) {
      this.bar = Polyad.toolbar(camera, toolbarHost, {cells: 1, onCells: (count) => {
        this.cells = count;
        this.panel.show(this.drawing, count);
        this.bar.mark(count);
      }});
      toolbarHost.append(this.bar);
    }
  }

  show({drawing, stiffness, moduli}) {
    if (drawing) {
      this.drawing = drawing;
      this.panel.show(drawing, this.cells ?? null);
      this.bar?.mark(this.cells ?? drawing.cells);
    }
    this.quantity = Polyad.directional(stiffness, moduli.young !== null);
    const surface = Polyad.radialSurface(this.quantity.value, 4);
    this.scene.setSurface(surface);
    this.scene.fit([0, 0, 0], 1.02);
    this.scene.draw();
    this.symbol.textContent = this.quantity.symbol;
    this.range.textContent = `${this.quantity.symbol} from ${format(surface.least)} to ${format(surface.most)} Eₛ`;
  }

  dispose(camera) {
    for (const scene of [this.panel.scene, this.scene]) {
      camera.scenes.delete(scene);
      scene.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    }
  }
}

export function figure(title, ...children) {
  return el("figure", {className: "card"}, el("figcaption", {}, ...[title].flat()), ...children);
}

export function moduliTable(moduli, extra = []) {
  const rows = [...Object.entries(MODULI).map(([key, name]) => [name, format(moduli[key])]), ...extra];
  return el("table", {}, el("tbody", {}, ...rows.map(([name, value]) => el("tr", {}, el("th", {scope: "row", textContent: name}), el("td", {textContent: value})))));
}

const INDEX = ["11", "22", "33", "23", "13", "12"];

export function tensorTable(stiffness) {
  const most = Math.max(...stiffness.flat().map(Math.abs));
  const head = el("tr", {}, el("th", {textContent: "C"}), ...INDEX.map((name) => el("th", {scope: "col", textContent: name})));
  const rows = stiffness.map((row, a) => el("tr", {}, el("th", {scope: "row", textContent: INDEX[a]}),
    ...row.map((x) => el("td", {textContent: Math.abs(x) < 1e-6 * most ? "0" : format(x, 3)}))));
  return el("div", {className: "sideways", tabIndex: 0, role: "region", ariaLabel: "Stiffness tensor"}, el("table", {className: "tensor"}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

export function button(text, act, {className = "", label} = {}) {
  const made = el("button", {type: "button", textContent: text, className, ariaLabel: label});
  made.addEventListener("click", () => act(made));
  return made;
}

export function select(options, value, change) {
  const made = el("select", {}, ...Object.entries(options).map(([key, text]) => el("option", {value: key, textContent: text})));
  made.value = value;
  if (change) made.addEventListener("change", () => change(made.value));
  return made;
}

export function labelled(text, control, className = "field") {
  return el("label", {className}, text, control);
}

export function checkbox(text, checked, change) {
  const box = el("input", {type: "checkbox", checked});
  if (change) box.addEventListener("change", () => change(box.checked));
  const made = el("label", {className: "field check"}, box, text);
  made.box = box;
  return made;
}

// A labelled slider; `read` turns its place into the value that is shown and reported.
export function slider(text, {least, most, step, place, read = (x) => x, show = (x) => format(x, 3), change}) {
  const input = el("input", {type: "range", min: least, max: most, step}), output = el("output");
  input.value = place;
  const update = () => (output.textContent = show(read(Number(input.value))));
  input.addEventListener("input", () => {
    update();
    change(read(Number(input.value)));
  });
  update();
  const made = el("label", {className: "slider"}, text, output, input);
  made.input = input;
  made.place = (value) => {
    input.value = value;
    update();
  };
  return made;
}

let timer;

export function say(text, bad = false) {
  const line = document.getElementById("message");
  clearTimeout(timer);
  line.textContent = text;
  line.hidden = !text;
  line.classList.toggle("bad", bad);
  if (text && !bad) timer = setTimeout(() => (line.hidden = true), 6000);
}

// Run something that may be refused, and say so.
export async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    return undefined;
  }
}
