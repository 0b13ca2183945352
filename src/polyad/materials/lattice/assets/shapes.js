// What is drawn: struts of a block of cells, and surfaces r(n) over all directions.
// The same rules as block.py and directions.py, so that pages and still pictures show the same things.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const FACE = 0.07;

  // lattice: {cell: 9 numbers, box: 9 integers, positions, source, target, shift, radius, dangling} with flat arrays
  function buildBlock(lattice, cells) {
    const {cell, box, positions, source, target, shift, radius} = lattice;
    const fromCartesian = invert(cell), toBox = invert(box);
    const struts = radius.length;
    const middle = new Float64Array(3 * struts), start = new Float64Array(3 * struts), along = new Float64Array(3 * struts);
    const least = [Infinity, Infinity, Infinity], most = [-Infinity, -Infinity, -Infinity];
    for (let e = 0; e < struts; e++) {
      const a = 3 * source[e], b = 3 * target[e];
      const image = row(shift.subarray(3 * e, 3 * e + 3), cell);
      for (let k = 0; k < 3; k++) {
        start[3 * e + k] = positions[a + k];
        along[3 * e + k] = positions[b + k] - positions[a + k] + image[k];
      }
      const half = [0, 1, 2].map((k) => start[3 * e + k] + 0.5 * along[3 * e + k]);
      row(half, fromCartesian).forEach((value, k) => {
        middle[3 * e + k] = value;
        least[k] = Math.min(least[k], value);
        most[k] = Math.max(most[k], value);
      });
    }
    const range = [0, 1, 2].map((k) => {
      const column = [box[k], box[3 + k], box[6 + k]];
      const low = column.reduce((sum, x) => sum + Math.min(x, 0), 0), high = column.reduce((sum, x) => sum + Math.max(x, 0), 0);
      const reach = column.reduce((sum, x) => sum + Math.abs(x), 0) * FACE;
      return [Math.ceil(cells * low - reach - most[k]), Math.floor(cells * high + reach - least[k])];
    });
    const starts = [], ends = [], radii = [], strut = [], balls = new Map();
    for (let i = range[0][0]; i <= range[0][1]; i++)
      for (let j = range[1][0]; j <= range[1][1]; j++)
        for (let k = range[2][0]; k <= range[2][1]; k++) {
          const move = row([i, j, k], cell);
          for (let e = 0; e < struts; e++) {
            const place = row([middle[3 * e] + i, middle[3 * e + 1] + j, middle[3 * e + 2] + k], toBox);
            if (place.some((f) => f <= -FACE || f >= cells + FACE)) continue;
            const from = move.map((m, c) => m + start[3 * e + c]), to = from.map((x, c) => x + along[3 * e + c]);
            starts.push(...from);
            ends.push(...to);
            radii.push(radius[e]);
            strut.push(e);
            const ball = (key, point) => {
              const known = balls.get(key);
              if (!known || known.radius < radius[e]) balls.set(key, {point, radius: radius[e], strut: e});
            };
            ball(`${source[e]},${i},${j},${k}`, from);
            ball(`${target[e]},${i + shift[3 * e]},${j + shift[3 * e + 1]},${k + shift[3 * e + 2]}`, to);
          }
        }
    const edges = [0, 3, 6].map((k) => row([box[k], box[k + 1], box[k + 2]], cell).map((x) => x * cells));
    return {starts, ends, radii, strut, balls: [...balls.values()], outline: outline(edges)};
  }

  function outline(edges) {
    const corner = (bits) => [0, 1, 2].map((c) => edges.reduce((sum, edge, k) => sum + (bits & (1 << k) ? edge[c] : 0), 0));
    const lines = [];
    for (let a = 0; a < 8; a++)
      for (let k = 0; k < 3; k++) if (!(a & (1 << k))) lines.push([corner(a), corner(a | (1 << k))]);
    return lines;
  }

  const spheres = new Map();

  // Unit vectors and outward triangles of an octahedron cut in four `level` times; the axes are among the vectors.
  function sphere(level) {
    if (spheres.has(level)) return spheres.get(level);
    let points = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
    let faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]];
    for (let cut = 0; cut < level; cut++) {
      const middles = new Map();
      const middle = (a, b) => {
        const key = a < b ? a * 1e6 + b : b * 1e6 + a;
        if (!middles.has(key)) {
          const sum = points[a].map((x, k) => x + points[b][k]), length = Math.hypot(...sum);
          middles.set(key, points.push(sum.map((x) => x / length)) - 1);
        }
        return middles.get(key);
      };
      faces = faces.flatMap(([a, b, c]) => {
        const ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
        return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]];
      });
    }
    const made = {points: new Float32Array(points.flat()), faces: new Uint32Array(faces.flat())};
    spheres.set(level, made);
    return made;
  }

  // The closed surface value(n) n / largest with a colour for every value.
  function radialSurface(value, level) {
    const {points, faces} = sphere(level);
    const count = points.length / 3, values = new Float64Array(count);
    for (let v = 0; v < count; v++) values[v] = value(points[3 * v], points[3 * v + 1], points[3 * v + 2]);
    let least = Infinity, most = -Infinity;
    for (const x of values) {
      least = Math.min(least, x);
      most = Math.max(most, x);
    }
    const vertices = new Float32Array(points.length), tints = new Float32Array(points.length);
    // where all values agree to rounding, one colour in the middle of the scale
    const flat = most - least <= 1e-6 * Math.abs(most);
    for (let v = 0; v < count; v++) {
      const tint = viridis(flat ? 0.5 : (values[v] - least) / (most - least));
      for (let k = 0; k < 3; k++) {
        vertices[3 * v + k] = (points[3 * v + k] * values[v]) / most;
        tints[3 * v + k] = tint[k];
      }
    }
    return {vertices, normals: vertexNormals(vertices, faces), tints, faces, values, least, most};
  }

  function vertexNormals(vertices, faces) {
    const normals = new Float32Array(vertices.length);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const u = [0, 1, 2].map((k) => vertices[b + k] - vertices[a + k]), w = [0, 1, 2].map((k) => vertices[c + k] - vertices[a + k]);
      const area = cross(u, w);
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += area[k];
    }
    return normals; // of any length: shaders normalise
  }

  const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"].map(rgb);

  function rgb(hex) {
    return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16) / 255);
  }

  function viridis(share) {
    const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1), below = Math.min(Math.floor(place), VIRIDIS.length - 2);
    return VIRIDIS[below].map((x, k) => x + (VIRIDIS[below + 1][k] - x) * (place - below));
  }

  function cross(a, b) {
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  }

  function row(vector, matrix) {
    return [0, 1, 2].map((k) => vector[0] * matrix[k] + vector[1] * matrix[3 + k] + vector[2] * matrix[6 + k]);
  }

  function invert(m) {
    const c = [0, 1, 2].map((k) => cross(m.slice(3 * ((k + 1) % 3), 3 * ((k + 1) % 3) + 3), m.slice(3 * ((k + 2) % 3), 3 * ((k + 2) % 3) + 3)));
    const det = m[0] * c[0][0] + m[1] * c[0][1] + m[2] * c[0][2];
    return [0, 1, 2].flatMap((k) => c.map((column) => column[k] / det));
  }

  Object.assign(Polyad, {buildBlock, radialSurface, sphere, viridis, rgb, cross, VIRIDIS});
}
