// Many lattices at once: one quantity against another with bounds, and a table to sort and search.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const {element: el, format} = Polyad;
  const PAGE = 25;

  // key, short name for the table, axis title, logarithmic, modulus (has a unit)
  const QUANTITIES = [
    ["density", "ρ", "relative density ρ", true],
    ["young_hill", "E", "Young’s modulus E (Hill)", true, true], ["young_min", "least E", "least Young’s modulus", true, true], ["young_max", "greatest E", "greatest Young’s modulus", true, true],
    ["bulk_reuss", "K", "bulk modulus K", true, true], ["shear_hill", "G", "shear modulus G (Hill)", true, true],
    ["poisson_hill", "ν", "Poisson’s ratio ν (Hill)", false], ["poisson_min", "least ν", "least Poisson’s ratio", false], ["poisson_max", "greatest ν", "greatest Poisson’s ratio", false],
    ["universal", "Aᵁ", "universal anisotropy Aᵁ", true], ["exponent_young", "n", "exponent n of E ~ ρⁿ", false],
    ["connectivity", "Z", "connectivity Z", false], ["nodes", "nodes", "nodes a cell", true], ["struts", "struts", "struts a cell", true],
  ].map(([key, short, title, log, modulus]) => ({key, short, title, log, modulus}));
  const COLUMNS = ["density", "nodes", "struts", "connectivity", "young_hill", "young_min", "young_max", "bulk_reuss", "shear_hill", "poisson_hill", "universal", "exponent_young"];
  const FLOOR = {universal: 1e-3}; // isotropic to this: shown at the floor of a logarithmic axis

  class Catalogue {
    constructor(section, report, choose) {
      Object.assign(this, {section, report, choose, order: null, falling: false, page: 0, chosen: 0});
      this.parts = Object.fromEntries([...section.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
      const {parts} = this;
      for (const [name, value] of [["x", "density"], ["y", "young_hill"], ["colour", "exponent_young"]]) {
        for (const {key, title} of QUANTITIES) parts[name].append(el("option", {value: key, textContent: title}));
        parts[name].value = value;
        parts[name].addEventListener("change", () => this.scatter());
      }
      this.texts = report.names.map((name, k) => [name, report.bases[k], report.sources[k], report.symmetry[k]].join("\n").toLowerCase());
      parts.search.addEventListener("input", () => this.filter());
      parts.previous.addEventListener("click", () => this.turn(-1));
      parts.next.addEventListener("click", () => this.turn(1));
      this.heads();
      this.filter();
      this.scatter();
    }

    heads() {
      const entry = (key, text, title) => {
        const cell = Object.assign(el("th"), {scope: "col"}), button = el("button", {type: "button", textContent: text, title});
        button.addEventListener("click", () => {
          this.falling = this.order === key && !this.falling;
          this.order = key;
          this.page = 0;
          this.rows();
        });
        cell.dataset.key = key;
        cell.append(button);
        return cell;
      };
      const unit = this.report.shortUnit, quantities = COLUMNS.map((key) => QUANTITIES.find((q) => q.key === key));
      this.parts.heads.replaceChildren(entry("name", "Name", "Sort by name"), ...quantities.map(({key, short, title, modulus}) => entry(key, short, `Sort by ${title}${modulus ? ` (${unit})` : ""}`)), entry("symmetry", "symmetry", "Sort by symmetry"));
    }

    filter() {
      const words = this.parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.found = this.report.names.map((_, k) => k).filter((k) => words.every((word) => this.texts[k].includes(word)));
      this.page = 0;
      this.rows();
    }

    turn(step) {
      this.page += step;
      this.rows();
    }

    rows() {
      const {parts, report, order} = this, sign = this.falling ? -1 : 1;
      const words = {name: report.names, symmetry: report.symmetry}[order], numbers = report.columns[order];
      const sorted = order === null ? this.found : [...this.found].sort((a, b) => {
        if (words) return sign * words[a].localeCompare(words[b], "en", {numeric: true});
        const [x, y] = [numbers[a], numbers[b]];
        return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y); // what does not exist goes last
      });
      for (const cell of parts.heads.children) cell.setAttribute("aria-sort", cell.dataset.key !== order ? "none" : this.falling ? "descending" : "ascending");
      const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
      this.page = Math.min(Math.max(this.page, 0), pages - 1);
      parts.rows.replaceChildren(...sorted.slice(PAGE * this.page, PAGE * (this.page + 1)).map((k) => {
        const open = el("button", {type: "button", className: "link", textContent: report.names[k], title: "Show this lattice"});
        open.addEventListener("click", () => this.choose(k));
        const line = el("tr", {}, Object.assign(el("th"), {scope: "row"}));
        line.firstChild.append(open);
        line.append(...COLUMNS.map((key) => el("td", {textContent: key.startsWith("exponent") && !Number.isNaN(report.columns[key][k]) ? report.columns[key][k].toFixed(2) : format(report.columns[key][k], 3)})), el("td", {textContent: report.symmetry[k]}));
        if (k === this.chosen) line.setAttribute("aria-current", "true");
        return line;
      }));
      parts.count.textContent = this.found.length === report.names.length ? `${report.names.length} lattices` : `${this.found.length} of ${report.names.length} lattices`;
      parts.place.textContent = `page ${this.page + 1} of ${pages}`;
      parts.previous.disabled = this.page === 0;
      parts.next.disabled = this.page === pages - 1;
    }

    mark(index) {
      this.chosen = index;
      this.rows();
      this.scatter();
    }

    // E, K or G against density has the bounds of porous solids drawn in
    bounds(x, y, colours) {
      const {report} = this, family = y.key.split("_")[0], lines = report.bounds[family];
      const line = (name, values, dash) => ({x: report.bounds.density, y: values, mode: "lines", name, line: {color: colours.soft, width: 1.4, dash}, hoverinfo: "skip"});
      if (x.key !== "density") return [];
      if (family === "poisson") return [["greatest ν of an isotropic solid", 0.5], ["least ν of an isotropic solid", -1]].map(([name, value]) => line(name, report.bounds.density.map(() => value), "dash"));
      if (!lines) return [];
      const solid = report.bounds.solid[family];
      return [line("Hashin–Shtrikman bound", lines, "solid"), line("Voigt bound", report.bounds.density.map((rho) => rho * solid), "dash")];
    }

    scatter() {
      const {parts, report} = this, quantity = (part) => QUANTITIES.find(({key}) => key === parts[part].value);
      const [x, y, tint] = ["x", "y", "colour"].map(quantity), unit = report.shortUnit;
      const values = ({key, log}) => Array.from(report.columns[key], (v) => (Number.isNaN(v) ? null : log ? Math.max(v, FLOOR[key] ?? 0) || null : v));
      const title = ({title: text, modulus}) => (modulus ? `${text} (${Polyad.plain(unit)})` : text);
      const [xs, ys, raw] = [values(x), values(y), values(tint)], shades = tint.log ? raw.map((v) => (v === null ? null : Math.log10(v))) : raw;
      const known = shades.filter((v) => v !== null).sort((a, b) => a - b), quantile = (q) => known[Math.floor(q * (known.length - 1))] ?? 0;
      const scale = Polyad.VIRIDIS.map((c, k) => [k / (Polyad.VIRIDIS.length - 1), `rgb(${c.map((v) => Math.round(255 * v)).join(",")})`]);
      const narrow = this.section.clientWidth < 640, axis = (q, shown) => ({title: title(q), ...Polyad.axisFor(shown, q.log)});
      const made = Polyad.chart(parts.scatter, (colours) => ({
        data: [
          ...this.bounds(x, y, colours),
          {
            type: "scatter", mode: "markers", x: xs, y: ys, name: "lattices", showlegend: false, text: report.names.map((_, k) => Polyad.plain(report.label(k))), customdata: report.names.map((_, k) => k),
            hovertemplate: `%{text}<br>${x.short} %{x:.4g}<br>${y.short} %{y:.4g}<extra></extra>`,
            marker: {
              size: report.names.length > 300 ? 5 : 9, opacity: report.names.length > 300 ? 0.75 : 0.95, color: shades, colorscale: scale, cmin: quantile(0.02), cmax: quantile(0.98),
              colorbar: {title: {text: (tint.log ? "log₁₀ " : "") + title(tint), font: {size: 12.5}, side: narrow ? "top" : "right"}, thickness: 12, outlinewidth: 0, ...(narrow ? {orientation: "h", x: 0.5, xanchor: "center", y: -0.22, yanchor: "top", len: 0.95} : {})},
            },
          },
          {x: [xs[this.chosen]], y: [ys[this.chosen]], mode: "markers", marker: {size: 15, color: "rgba(0,0,0,0)", line: {color: colours.bad, width: 2.5}}, hoverinfo: "skip", showlegend: false},
        ],
        layout: {xaxis: axis(x, xs), yaxis: axis(y, ys), hovermode: "closest", margin: {l: 64, r: 16, t: 12, b: narrow ? 130 : 52}},
      }));
      if (made) parts.scatter.on("plotly_click", ({points: [point]}) => {
        if (point.customdata !== undefined) this.choose(point.customdata);
      });
    }
  }

  Object.assign(Polyad, {Catalogue});
}
