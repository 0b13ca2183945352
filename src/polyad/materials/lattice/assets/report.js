// Unpacks the page's data and starts its three parts.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function unpack(data) {
    const {unpackArray} = Polyad, upper = unpackArray(data.stiffness);
    const several = new Map();
    for (const name of data.names) several.set(name, (several.get(name) ?? 0) + 1);
    return {
      ...data,
      shortUnit: data.unit || "Eₛ",
      columns: Object.fromEntries(Object.entries(data.columns).map(([name, text]) => [name, unpackArray(text)])),
      scaling: unpackArray(data.scaling), extreme: unpackArray(data.extreme), symmetry: data.symmetry.map((k) => data.classes[k]),
      stiffness: (k) => Polyad.matrixOf(upper.subarray(21 * k, 21 * (k + 1))),
      // a cell at several densities needs its density to be told apart
      label(k) {
        return several.get(this.names[k]) > 1 ? `${this.names[k]}, ρ ${Polyad.format(this.columns.density[k], 3)}` : this.names[k];
      },
    };
  }

  async function start() {
    const report = unpack(await inflate(document.getElementById("data").textContent));
    const section = (id) => document.getElementById(id);
    let catalogue = null;
    const explorer = new Polyad.Explorer(section("lattice"), report);
    const choose = (k) => {
      explorer.show(k);
      section("lattice").scrollIntoView({behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
    };
    explorer.show(0);
    if (report.designs.length) {
      section("design").hidden = false;
      Polyad.designs = new Polyad.Designs(section("design"), report);
      Polyad.designs.show(0);
    }
    if (report.names.length > 1) {
      section("catalogue").hidden = false;
      catalogue = new Polyad.Catalogue(section("catalogue"), report, choose);
      explorer.section.addEventListener("shown", ({detail}) => catalogue.mark(detail));
    }
    for (const link of document.querySelectorAll("nav a")) link.hidden = section(link.hash.slice(1)).hidden;
    explorer.camera.rotate(!matchMedia("(prefers-reduced-motion: reduce)").matches);
    Object.assign(Polyad, {report, explorer, catalogue});
    document.documentElement.dataset.ready = "true";
  }

  start().catch((error) => {
    const line = document.getElementById("failure");
    line.hidden = false;
    line.textContent = typeof DecompressionStream === "undefined" ? "This browser is too old for this page: use one from 2023 or later." : `The page could not be drawn: ${error.message}`;
    throw error;
  });
}
