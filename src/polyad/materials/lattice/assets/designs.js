// The path of a design: objective and constraint against iteration, the lattices on the way, target and reached tensor.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const {element: el, format} = Polyad;

  const KEPT = 1e-10;

  class Designs {
    constructor(section, report) {
      Object.assign(this, {section, report, camera: new Polyad.Camera(), frame: 0, timer: null});
      this.parts = Object.fromEntries([...section.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
      const {parts} = this;
      this.panel = new Polyad.LatticePanel(parts.path, this.camera, {label: "The lattice on its way", lengthUnit: report.lengthUnit});
      parts.tools.append(Polyad.toolbar(this.camera, section));
      report.designs.forEach(({name}, k) => parts.pick.append(el("option", {value: k, textContent: name})));
      parts.chooser.hidden = report.designs.length < 2;
      parts.pick.addEventListener("change", () => this.show(Number(parts.pick.value)));
      parts.slider.addEventListener("input", () => {
        this.play(false);
        this.showFrame(Number(parts.slider.value));
      });
      parts.play.addEventListener("click", () => this.play(this.timer === null));
    }

    show(index) {
      const {parts, report} = this;
      this.play(false);
      this.design = report.designs[index];
      const {facts, frames, start, reached, target} = this.design;
      parts.facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {textContent: name}), el("dd", {textContent: typeof value === "number" ? format(value) : value}))));
      parts.slider.max = frames.length - 1;
      parts.slider.parentElement.hidden = frames.length < 2;
      parts.kept.hidden = this.design.constraint.some((x) => x !== 0);
      parts.constraint.hidden = !parts.kept.hidden;
      const goal = Polyad.matrixOf(target ?? start), got = Polyad.matrixOf(reached), name = target ? "target" : "start";
      const most = Math.max(...goal.flat().map(Math.abs), ...got.flat().map(Math.abs)), norm = Math.hypot(...goal.flat());
      const change = got.map((row, a) => row.map((x, b) => (100 * (x - goal[a][b])) / norm)), worst = Math.max(...change.flat().map(Math.abs), 1e-9);
      const error = Polyad.tensorTable(change, worst, 3), named = ({table, factor}, text) => [`${text}, in ${factor}${report.shortUnit}`, table];
      const tables = [
        named(Polyad.tensorTable(goal, most), target ? "Target" : "Start"), named(Polyad.tensorTable(got, most), "Reached"),
        [`Reached − ${name}, in ${error.factor}% of |${name}|; in all ${format(Math.hypot(...change.flat()), 3)} %`, error.table],
      ];
      parts.tensors.replaceChildren(...tables.map(([text, table]) => el("figure", {}, el("figcaption", {textContent: text}), el("div", {className: "sideways", tabIndex: 0, role: "group", ariaLabel: text}, table))));
      this.showFrame(frames.length - 1);
    }

    chart(host, key, label) {
      const {iteration, frames} = this.design, broken = key === "constraint" && this.design[key].some((x) => x > 0);
      // a constraint that is kept has violation zero, which a logarithmic axis cannot show
      const values = this.design[key].map((x) => (x !== null && broken ? Math.max(x, KEPT) : x)), known = values.filter((x) => x !== null);
      const log = known.length > 0 && known.every((x) => x > 0) && Math.max(...known) > 30 * Math.min(...known);
      const step = frames[this.frame].step;
      Polyad.chart(host, (colours) => ({
        data: [
          {x: iteration, y: values, mode: "lines+markers", line: {color: colours.accent, width: 2}, marker: {size: 4}, hovertemplate: `iteration %{x}<br>${label} %{y:.4g}<extra></extra>`, showlegend: false},
          {x: [iteration[step]], y: [values[step]], mode: "markers", marker: {size: 12, color: "rgba(0,0,0,0)", line: {color: colours.warn, width: 2.5}}, hoverinfo: "skip", showlegend: false},
        ],
        layout: {xaxis: {title: "iteration"}, yaxis: {title: label, ...Polyad.axisFor(values, log), ...(log ? {} : {rangemode: "tozero"})}},
      }));
    }

    showFrame(frame) {
      const {frames, iteration} = this.design, {parts} = this;
      this.frame = frame;
      parts.slider.value = frame;
      const {lattice, step} = frames[frame];
      this.panel.show(lattice);
      parts.now.textContent = `iteration ${iteration[step]} of ${iteration[iteration.length - 1]}`;
      parts.slider.setAttribute("aria-valuetext", parts.now.textContent);
      this.chart(parts.objective, "objective", "objective");
      if (parts.kept.hidden) this.chart(parts.constraint, "constraint", "largest violation");
    }

    play(on) {
      clearInterval(this.timer);
      this.timer = null;
      this.parts.play.textContent = on ? "Pause" : "Play";
      this.parts.play.setAttribute("aria-pressed", String(on));
      if (!on) return;
      if (this.frame === this.design.frames.length - 1) this.showFrame(0);
      this.timer = setInterval(() => {
        if (this.frame >= this.design.frames.length - 1) this.play(false);
        else this.showFrame(this.frame + 1);
      }, 180);
    }
  }

  Object.assign(Polyad, {Designs});
}
