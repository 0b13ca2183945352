// One lattice in full: drawing and stiffness surface under one camera, cuts, moduli and bounds, scaling, tensor, symmetry.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const {element: el, format} = Polyad;
  const CLASSES = ["isotropic", "cubic", "hexagonal", "trigonal", "tetragonal", "orthotropic", "monoclinic"];

  class Explorer {
    constructor(section, report) {
      Object.assign(this, {section, report, index: -1, camera: new Polyad.Camera()});
      const find = (name) => section.querySelector(`[data-part="${name}"]`);
      this.parts = Object.fromEntries([...section.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
      this.panel = new Polyad.LatticePanel(find("struts"), this.camera, {label: "The lattice in three dimensions", lengthUnit: report.lengthUnit});
      this.surface = new Polyad.Scene(find("surface"), this.camera, {
        label: "Stiffness by direction", fade: 0.08,
        describe: ({value, direction}) => `${this.quantity.symbol} = ${this.withUnit(value)} along [${direction.map((x) => x.toFixed(2)).join(", ")}]`,
      });
      this.bar = Polyad.toolbar(this.camera, section, {cells: 1, onCells: (count) => {
        this.panel.show(this.report.geometry[this.index], count);
        this.bar.mark(count);
      }});
      find("tools").append(this.bar);
      this.pick = find("pick");
      report.names.forEach((name, k) => this.pick.append(el("option", {value: k, textContent: report.label(k)})));
      this.pick.addEventListener("change", () => this.show(Number(this.pick.value)));
      find("previous").addEventListener("click", () => this.show(this.index - 1));
      find("next").addEventListener("click", () => this.show(this.index + 1));
      find("chooser").hidden = report.names.length < 2;
    }

    withUnit(value, digits) {
      return `${format(value, digits)} ${this.report.shortUnit}`;
    }

    show(index) {
      const {report, parts} = this, count = report.names.length;
      this.index = (index + count) % count;
      const at = (name) => report.columns[name][this.index];
      this.pick.value = this.index;
      parts.name.textContent = report.names[this.index];
      parts.facts.replaceChildren(...this.facts(at));
      const packed = report.geometry[this.index];
      parts.missing.hidden = Boolean(packed);
      this.bar.hidden = this.panel.scene.host.hidden = !packed;
      if (packed) {
        this.panel.show(packed);
        this.bar.mark(packed.cells);
      }
      this.showStiffness(at);
      this.showModuli(at);
      this.showScaling(at);
      this.showTensor(at);
      this.section.dispatchEvent(new CustomEvent("shown", {detail: this.index}));
    }

    facts(at) {
      const {report} = this, items = [
        ["relative density", format(at("density"))], ["nodes", at("nodes")], ["struts", at("struts")], ["struts a node end Z", format(at("connectivity"), 3)],
        ["greatest radius / length", format(at("slenderness"), 3)], ["mechanisms", at("mechanisms"), at("mechanisms") > 0], ["dangling struts", at("dangling"), at("dangling") > 0],
      ];
      items[3][0] = "connectivity Z";
      if (!Number.isNaN(at("difference"))) items.push(["given tensor against Polyad’s solver", `${format(100 * at("difference"), 2)} %`]);
      if (report.sources[this.index]) items.push(["source", report.sources[this.index]]);
      const made = items.map(([name, value, warn]) => el("div", {className: warn ? "warn" : ""}, el("dt", {textContent: name}), el("dd", {textContent: value})));
      for (const note of report.notes[this.index] ?? []) made.push(el("div", {className: "wide"}, el("dt", {textContent: "note"}), el("dd", {textContent: note})));
      return made;
    }

    showStiffness(at) {
      const {report, parts} = this, stiffness = report.stiffness(this.index), stiff = !Number.isNaN(at("young_reuss"));
      this.quantity = Polyad.directional(stiffness, stiff);
      const spiky = !stiff || at("young_max") > 8 * at("young_min");
      const surface = Polyad.radialSurface(this.quantity.value, spiky ? 6 : 5);
      this.surface.setSurface(surface);
      // three axes, as thin struts
      const reach = 1.18, tips = [0, 1, 2].map((k) => [0, 1, 2].map((c) => (c === k ? reach : 0)));
      this.surface.setStruts({starts: tips.flatMap((t) => t.map((x) => -x)), ends: tips.flat(), radii: [0.006, 0.006, 0.006], tints: new Array(9).fill(0.6)});
      this.surface.fit([0, 0, 0], 1.2);
      this.surface.draw();
      const unit = report.shortUnit;
      parts.quantity.textContent = `${this.quantity.name} ${this.quantity.symbol} by direction, in ${unit}`;
      const ramp = Polyad.VIRIDIS.map((c) => `rgb(${c.map((x) => Math.round(255 * x)).join(" ")})`).join(", ");
      parts.ramp.style.background = `linear-gradient(to right, ${ramp})`;
      const flat = surface.most - surface.least <= 1e-6 * surface.most;
      const low = stiff ? at("young_min") : surface.least, high = stiff ? at("young_max") : surface.most;
      parts.low.textContent = this.withUnit(flat ? high : low);
      parts.middle.textContent = flat ? "the same in all directions" : this.withUnit((low + high) / 2);
      parts.high.textContent = this.withUnit(high);
      parts.soft.hidden = stiff;
      for (const plane of ["xy", "xz", "yz"]) {
        const cut = Polyad.polarCut(this.quantity.value, plane);
        Polyad.polarChart(parts[plane], {...cut, plane, top: 1.04 * surface.most, quantity: this.quantity.symbol, unit, isotropic: stiff ? at("young_hill") : null});
      }
    }

    showModuli(at) {
      const {parts} = this, cell = (text, tag = "td") => el(tag, {textContent: text});
      const rows = [["bulk", "K, bulk"], ["shear", "G, shear"], ["young", "E, Young"], ["poisson", "ν, Poisson"]];
      parts.averages.replaceChildren(...rows.map(([key, name]) => {
        const bound = key === "poisson" ? NaN : at(`${key}_bound`), voigt = key === "poisson" ? NaN : at(`${key}_voigt_bound`);
        const share = at(`${key}_hill`) / bound, line = el("tr", {}, head(name));
        for (const average of ["voigt", "hill", "reuss"]) line.append(cell(format(at(`${key}_${average}`))));
        const ratio = cell(percent(share));
        if (share > 1) ratio.className = "warn";
        line.append(cell(format(bound)), cell(format(voigt)), ratio);
        return line;
      }));
      const directions = ["100", "010", "001", "110", "111"].map((key) => [`E[${key}]`, at(`young_${key}`), ""]);
      const extreme = this.report.extreme.subarray(6 * this.index, 6 * this.index + 6), where = (k) => `along [${[...extreme.subarray(3 * k, 3 * k + 3)].map((x) => (Math.abs(x) < 0.005 ? 0 : x).toFixed(2)).join(", ")}]`;
      const exists = !Number.isNaN(at("young_min"));
      directions.push(["least E", at("young_min"), exists ? where(0) : ""], ["greatest E", at("young_max"), exists ? where(1) : ""]);
      parts.directional.replaceChildren(...directions.map(([name, value, note]) => el("tr", {}, head(name), cell(format(value)), cell(percent(value / at("young_voigt_bound"))), el("td", {className: "note", textContent: note}))));
      const range = (key) => (exists ? `${format(at(`${key}_min`))} … ${format(at(`${key}_max`))}` : "–");
      const others = [
        ["shear modulus G", range("shear")], ["Poisson’s ratio ν", range("poisson")],
        ["universal anisotropy Aᵁ", format(at("universal"))], ["log-Euclidean anisotropy Aᴸ", format(at("log_euclidean"))],
        ["Zener ratio (cubic only)", format(at("zener"))], ["closest symmetry (within 1 %)", this.report.symmetry[this.index]],
      ];
      parts.others.replaceChildren(...others.map(([name, value]) => el("tr", {}, head(name), cell(value))));
    }

    showScaling(at) {
      const {report, parts} = this, factors = report.factors, values = report.scaling.subarray(3 * factors.length * this.index, 3 * factors.length * (this.index + 1));
      const series = ["young", "bulk", "shear"].map((key, k) => ({
        name: "EKG"[k], values: factors.map((_, f) => values[3 * f + k]), exponent: at(`exponent_${key}`), prefactor: at(`prefactor_${key}`),
      })).filter(({exponent}) => !Number.isNaN(exponent));
      parts.scalingless.hidden = series.length > 0;
      parts.scaling.hidden = series.length === 0;
      if (series.length) Polyad.scalingChart(parts.scaling, {density: factors.map((f) => f * at("density")), series, unit: report.shortUnit});
      parts.law.replaceChildren(...series.flatMap(({name, exponent, prefactor}) => [
        el("span", {className: "law"}, `${name} ≈ ${format(prefactor, 3)} ρ`, el("sup", {textContent: exponent.toFixed(3)})),
      ]));
    }

    showTensor(at) {
      const {parts, report} = this;
      const {table, factor} = tensorTable(report.stiffness(this.index));
      parts.tensor.replaceChildren(table);
      parts.factor.textContent = `Kelvin–Mandel, in ${factor}${report.shortUnit}`;
      parts.symmetry.replaceChildren(...CLASSES.map((name) => {
        const distance = at(`distance_${name}`), width = Math.min(100, 100 * distance);
        return el("tr", {}, head(name), el("td", {className: "meter"}, Object.assign(el("span", {ariaLabel: ""}), {style: `width:${width.toFixed(2)}%`})), el("td", {textContent: distance < 5e-6 ? "0 %" : `${format(100 * distance, 3)} %`}));
      }));
    }
  }

  function percent(share) {
    return Number.isNaN(share) ? "–" : `${format(100 * share, 3)} %`;
  }

  function head(text) {
    return Object.assign(el("th", {textContent: text}), {scope: "row"});
  }

  // A 6 x 6 matrix as a table tinted by value, and the power of ten taken out of it; `most` is the value of the full tint.
  function tensorTable(matrix, most = Math.max(...matrix.flat().map(Math.abs)), digits = 4) {
    const size = most > 0 ? Math.floor(Math.log10(most)) : 0, power = size > 3 || size < -1 ? 3 * Math.floor(size / 3) : 0;
    const decimals = Math.min(Math.max(digits - 1 - size + power, 0), 12), order = ["11", "22", "33", "23", "13", "12"];
    const write = (x) => {
      const text = (x / 10 ** power).toFixed(decimals);
      return Number(text) === 0 ? "0" : text.replace("-", "−");
    };
    const rows = matrix.map((row, a) => el("tr", {}, head(order[a]), ...row.map((x) => {
      const cell = el("td", {textContent: write(x)}), share = most > 0 ? Math.min(Math.abs(x) / most, 1) : 0;
      cell.style.setProperty("--share", `${(70 * share ** 0.7).toFixed(1)}%`);
      cell.className = x < 0 ? "negative" : "positive";
      return cell;
    })));
    const top = el("tr", {}, el("td"), ...order.map((text) => Object.assign(el("th", {textContent: text}), {scope: "col"})));
    return {table: el("table", {className: "tensor"}, el("thead", {}, top), el("tbody", {}, ...rows)), factor: power ? `10${Polyad.raised(power)} ` : ""};
  }

  Object.assign(Polyad, {Explorer, tensorTable});
}
