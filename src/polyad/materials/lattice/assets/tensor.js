// Stiffness tensors in the page: Kelvin-Mandel matrices in the order 11, 22, 33, 23, 13, 12, and their values by direction.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const ROOT = Math.SQRT2;

  // 21 numbers of the upper triangle, row by row, to six rows
  function matrixOf(upper) {
    const matrix = Array.from({length: 6}, () => new Array(6));
    let at = 0;
    for (let a = 0; a < 6; a++) for (let b = a; b < 6; b++) matrix[a][b] = matrix[b][a] = upper[at++];
    return matrix;
  }

  // Gauss-Jordan with pivoting
  function inverse(matrix) {
    const rows = matrix.map((row, a) => [...row, ...row.map((_, b) => (a === b ? 1 : 0))]);
    for (let c = 0; c < 6; c++) {
      let pivot = c;
      for (let r = c + 1; r < 6; r++) if (Math.abs(rows[r][c]) > Math.abs(rows[pivot][c])) pivot = r;
      [rows[c], rows[pivot]] = [rows[pivot], rows[c]];
      const lead = rows[c][c];
      rows[c] = rows[c].map((x) => x / lead);
      for (let r = 0; r < 6; r++) if (r !== c && rows[r][c]) {
        const factor = rows[r][c];
        rows[r] = rows[r].map((x, k) => x - factor * rows[c][k]);
      }
    }
    return rows.map((row) => row.slice(6));
  }

  function form(matrix, [x, y, z]) {
    const d = [x * x, y * y, z * z, ROOT * y * z, ROOT * x * z, ROOT * x * y];
    let sum = 0;
    for (let a = 0; a < 6; a++) for (let b = 0; b < 6; b++) sum += d[a] * matrix[a][b] * d[b];
    return sum;
  }

  // E(n) for a stiffness that has an inverse, c(n) = C_nnnn for one that has not
  function directional(stiffness, stiff) {
    if (!stiff) return {symbol: "c(n)", name: "Uniaxial-strain stiffness", value: (...n) => form(stiffness, n)};
    const compliance = inverse(stiffness);
    return {symbol: "E(n)", name: "Young’s modulus", value: (...n) => 1 / form(compliance, n)};
  }

  const PLANES = {xy: [0, 1], xz: [0, 2], yz: [1, 2]};

  function polarCut(value, plane, samples = 241) {
    const [first, second] = PLANES[plane], theta = [], radius = [];
    for (let s = 0; s < samples; s++) {
      const angle = (2 * Math.PI * s) / (samples - 1), n = [0, 0, 0];
      [n[first], n[second]] = [Math.cos(angle), Math.sin(angle)];
      theta.push((180 * angle) / Math.PI);
      radius.push(value(...n));
    }
    return {theta, radius};
  }

  Object.assign(Polyad, {matrixOf, inverse, directional, polarCut, PLANES});
}
