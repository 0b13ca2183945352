// Plotly charts in the page's colours, redrawn when the colour scheme changes.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const drawn = new Map();

  function theme() {
    const style = getComputedStyle(document.documentElement), read = (name) => style.getPropertyValue(`--${name}`).trim();
    return Object.fromEntries(["paper", "card", "ink", "soft", "line", "accent", "tint", "warn", "bad", "good"].map((name) => [name, read(name)]));
  }

  // plotly reads some markup in text; names come from files
  function plain(text) {
    return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  // make(colours) gives {data, layout}; the chart stays the same when it is drawn again
  function chart(host, make) {
    const first = !drawn.has(host);
    drawn.set(host, make);
    const colours = theme(), {data, layout} = make(colours);
    const axis = {gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, tickcolor: colours.line, automargin: true, title: {standoff: 8, font: {size: 12.5}}};
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colours.soft},
      margin: {l: 56, r: 16, t: 12, b: 48}, hoverlabel: {bgcolor: colours.ink, bordercolor: colours.ink, font: {color: colours.card}},
      legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)"}, dragmode: false, autosize: true,
    };
    const merged = {...base, ...layout};
    for (const key of Object.keys(merged)) if (/^[xy]axis\d*$/.test(key)) {
      const title = merged[key].title;
      merged[key] = {...axis, ...merged[key], title: {...axis.title, ...(typeof title === "string" ? {text: title} : title)}};
    }
    Plotly.react(host, data, merged, {displayModeBar: false, responsive: true, doubleClick: "reset"});
    return first;
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [host, make] of drawn) chart(host, make);
  });

  // One cut of the stiffness surface; `top` is the common end of the scale.
  function polarChart(host, {theta, radius, plane, top, quantity, unit, isotropic}) {
    chart(host, (colours) => {
      const hover = `%{theta:.0f}°: %{r:.4g} ${plain(unit)}<extra></extra>`;
      const data = [{type: "scatterpolar", mode: "lines", theta, r: radius, fill: "toself", fillcolor: `${colours.accent}22`, line: {color: colours.accent, width: 2}, hovertemplate: hover, name: quantity, showlegend: false}];
      if (isotropic) data.push({type: "scatterpolar", mode: "lines", theta, r: theta.map(() => isotropic), line: {color: colours.soft, width: 1.2, dash: "dot"}, hoverinfo: "skip", showlegend: false});
      return {data, layout: {
        margin: {l: 30, r: 30, t: 26, b: 26},
        polar: {
          bgcolor: "rgba(0,0,0,0)",
          angularaxis: {tickvals: [0, 90, 180, 270], ticktext: [plane[0], plane[1], `−${plane[0]}`, `−${plane[1]}`], gridcolor: colours.line, linecolor: colours.line},
          radialaxis: {range: [0, top], nticks: 3, angle: 45, tickangle: 45, tickformat: ".2~g", gridcolor: colours.line, linecolor: "rgba(0,0,0,0)", tickfont: {size: 10.5}},
        },
      }};
    });
  }

  // Moduli against density with the fitted power laws.
  function scalingChart(host, {density, series, unit}) {
    chart(host, (colours) => {
      const tints = [colours.accent, colours.warn, colours.good], data = [];
      series.forEach(({name, values, exponent, prefactor}, k) => {
        data.push({x: density, y: values, mode: "markers", name: `${name} ~ ρ<sup>${exponent.toFixed(2)}</sup>`, marker: {color: tints[k], size: 8, symbol: ["circle", "square", "diamond"][k]}, hovertemplate: `ρ %{x:.3g}<br>${name} %{y:.4g} ${plain(unit)}<extra></extra>`});
        data.push({x: density, y: density.map((rho) => prefactor * rho ** exponent), mode: "lines", line: {color: tints[k], width: 1.5}, hoverinfo: "skip", showlegend: false});
      });
      return {data, layout: {
        xaxis: {title: "relative density ρ", ...axisFor(density, true)},
        yaxis: {title: `modulus (${plain(unit)})`, ...axisFor(series.flatMap(({values}) => values), true)},
      }};
    });
  }

  // Linear, or logarithmic with ticks at 1, 2, 5 (decades where there are many), written without powers where short.
  function axisFor(values, log) {
    const known = values.filter((x) => x !== null && Number.isFinite(x) && (!log || x > 0));
    if (!log || !known.length) return {type: "linear"};
    const low = known.reduce((a, b) => Math.min(a, b)), high = known.reduce((a, b) => Math.max(a, b));
    const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))], ticks = [];
    const steps = Math.log10(high / low) > 2.2 ? [1] : [1, 2, 5];
    // more than the values need: bounds may be drawn beyond them
    for (let power = from - 3; power <= to + 3; power++) for (const step of steps) ticks.push(step * 10 ** power);
    return {type: "log", tickvals: ticks, ticktext: ticks.map((x) => Polyad.format(x, 1))};
  }

  Object.assign(Polyad, {axisFor, chart, plain, polarChart, scalingChart, theme});
}
