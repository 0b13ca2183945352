// A lattice in a scene, with its buttons.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const THIN = [0.56, 0.71, 0.96], THICK = [0.16, 0.38, 0.82], DANGLING = [0.93, 0.58, 0.12], LINE = [0.55, 0.58, 0.64];
  const TYPES = {i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array};

  // "u1:AAEC" to a typed array (little-endian, as all browsers' machines are)
  function unpackArray(text) {
    const bytes = Uint8Array.from(atob(text.slice(3)), (c) => c.charCodeAt(0));
    return new TYPES[text.slice(0, 2)](bytes.buffer);
  }

  function unpackLattice(packed) {
    const cell = [...unpackArray(packed.cell)], nodes = unpackArray(packed.nodes), one = unpackArray(packed.radius);
    const source = unpackArray(packed.source), positions = new Float64Array(nodes.length);
    for (let n = 0; n < nodes.length; n += 3)
      for (let k = 0; k < 3; k++) positions[n + k] = (nodes[n] * cell[k] + nodes[n + 1] * cell[3 + k] + nodes[n + 2] * cell[6 + k]) / 65536;
    return {
      cell, positions, source, target: unpackArray(packed.target), shift: unpackArray(packed.shift), box: [...unpackArray(packed.box)],
      radius: one.length === 1 ? new Float32Array(source.length).fill(one[0]) : one,
      dangling: new Set(packed.dangling ? unpackArray(packed.dangling) : []), cells: packed.cells,
    };
  }

  class LatticePanel {
    constructor(host, camera, {label, lengthUnit = ""} = {}) {
      this.lengthUnit = lengthUnit;
      this.scene = new Polyad.Scene(host, camera, {label, describe: (hit) => this.describe(hit)});
    }

    // cells: along each direction, or null for the lattice's own
    show(packed, cells = null) {
      const lattice = unpackLattice(packed), block = Polyad.buildBlock(lattice, cells ?? lattice.cells);
      Object.assign(this, {lattice, block, cells: cells ?? lattice.cells});
      const low = lattice.radius.reduce((a, b) => Math.min(a, b)), high = lattice.radius.reduce((a, b) => Math.max(a, b));
      const tint = (e) => {
        if (lattice.dangling.has(e)) return DANGLING;
        const share = high - low > 1e-3 * high ? (lattice.radius[e] - low) / (high - low) : 0.55;
        return THIN.map((x, k) => x + (THICK[k] - x) * share);
      };
      const corners = block.outline.flat(), middle = [0, 1, 2].map((k) => corners.reduce((sum, c) => sum + c[k], 0) / corners.length);
      let size = Math.max(...corners.map((c) => Math.hypot(...c.map((x, k) => x - middle[k]))));
      for (const {point, radius} of block.balls) size = Math.max(size, radius + Math.hypot(...point.map((x, k) => x - middle[k])));
      const thin = 0.0018 * size, lines = block.outline, all = block.strut.length;
      this.scene.setStruts({
        starts: block.starts.concat(lines.flatMap(([a]) => a)), ends: block.ends.concat(lines.flatMap(([, b]) => b)),
        radii: block.radii.concat(lines.map(() => thin)), tints: block.strut.flatMap(tint).concat(lines.flatMap(() => LINE)),
      });
      this.scene.setBalls({
        centres: block.balls.flatMap((ball) => ball.point), radii: block.balls.map((ball) => ball.radius),
        tints: block.balls.flatMap((ball) => tint(ball.strut)),
      });
      this.scene.fit(middle, size);
      this.scene.draw();
      return all;
    }

    describe({strut}) {
      if (strut >= this.block.strut.length) return "edge of the drawn block";
      const e = this.block.strut[strut], unit = this.lengthUnit ? ` ${this.lengthUnit}` : "";
      const from = this.block.starts.slice(3 * strut, 3 * strut + 3), to = this.block.ends.slice(3 * strut, 3 * strut + 3);
      const length = Math.hypot(...to.map((x, k) => x - from[k]));
      const free = this.lattice.dangling.has(e) ? ", ends freely" : "";
      return `strut ${e}: radius ${format(this.lattice.radius[e])}${unit}, length ${format(length)}${unit}${free}`;
    }
  }

  // Buttons that turn the camera, and choose how many cells are drawn.
  function toolbar(camera, host, {cells, onCells} = {}) {
    const button = (text, label, act) => {
      const made = Polyad.element("button", {type: "button", textContent: text, title: label, ariaLabel: label});
      made.addEventListener("click", () => act(made));
      return made;
    };
    const rotate = button("Rotate", "Start or stop the rotation", () => camera.rotate(!camera.rotating));
    rotate.dataset.action = "rotate";
    rotate.setAttribute("aria-pressed", String(camera.rotating));
    host.addEventListener("rotating", (event) => rotate.setAttribute("aria-pressed", String(event.detail)));
    const look = (text, view, label) => {
      const made = button(text, label, () => {
        camera.rotate(false);
        camera.look(view);
      });
      made.dataset.view = view;
      return made;
    };
    const views = group("View", look("3D", "corner", "View from a corner"), ...[..."xyz"].map((axis) => look(axis, axis, `View along ${axis}`)));
    const bar = Polyad.element("div", {className: "toolbar"}, rotate, views);
    if (onCells) {
      const counts = [1, 2, 3].map((count) => button(`${count}³`, `Draw ${count} x ${count} x ${count} cells`, () => onCells(count)));
      bar.append(group("Cells", ...counts));
      bar.mark = (count) => counts.forEach((made, k) => made.setAttribute("aria-pressed", String(k + 1 === count)));
      bar.mark(cells);
    }
    return bar;
  }

  function group(label, ...children) {
    return Polyad.element("span", {className: "group", role: "group", ariaLabel: label}, ...children);
  }

  // Four significant digits, without an exponent where that stays short.
  function format(value, digits = 4) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-4) {
      const [mantissa, power] = value.toExponential(digits - 1).split("e");
      return digits === 1 && mantissa === "1" ? `10${raised(power)}` : `${mantissa}·10${raised(power)}`;
    }
    return String(Number(value.toPrecision(digits)));
  }

  function raised(power) {
    return [...String(Number(power))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
  }

  // The page that holds one lattice and nothing else.
  function standalone(caption) {
    const main = document.getElementById("view"), packed = JSON.parse(document.getElementById("lattice").textContent);
    const camera = new Polyad.Camera(), host = Polyad.element("div");
    main.append(host);
    const panel = new LatticePanel(host, camera, {label: caption});
    const bar = toolbar(camera, host, {cells: packed.cells, onCells: (count) => {
      panel.show(packed, count);
      bar.mark(count);
    }});
    main.append(bar, Polyad.element("p", {className: "caption", textContent: caption}));
    panel.show(packed);
    camera.rotate(!matchMedia("(prefers-reduced-motion: reduce)").matches);
    Object.assign(Polyad, {panel, camera});
  }

  Object.assign(Polyad, {unpackArray, unpackLattice, LatticePanel, toolbar, format, raised, standalone});
}
