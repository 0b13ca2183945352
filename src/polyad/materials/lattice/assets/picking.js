// What lies under the pointer.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  // The nearest strut (a segment with a radius) that the ray passes through.
  function hitStrut({origin, direction}, {starts, ends, radii}) {
    const length = Math.hypot(...direction), ray = direction.map((x) => x / length);
    let best = null;
    for (let s = 0; s < radii.length; s++) {
      const from = starts.slice(3 * s, 3 * s + 3), along = minus(ends.slice(3 * s, 3 * s + 3), from);
      const gap = minus(from, origin), a = dot(along, along), b = dot(along, ray), d = dot(gap, ray), e = dot(gap, along);
      const share = Math.min(Math.max((b * d - e) / Math.max(a - b * b, 1e-12 * a), 0), 1);
      const far = d + share * b;
      const apart = gap.map((x, k) => x + share * along[k] - far * ray[k]);
      if (dot(apart, apart) <= radii[s] ** 2 && (!best || far < best.far)) best = {strut: s, far};
    }
    return best;
  }

  // Value and direction where the ray first meets the surface.
  function hitSurface({origin, direction}, {vertices, faces, most}) {
    let nearest = Infinity;
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [0, 1, 2].map((k) => vertices.subarray(3 * faces[f + k], 3 * faces[f + k] + 3));
      const u = minus(b, a), w = minus(c, a), p = Polyad.cross(direction, w), det = dot(u, p);
      if (Math.abs(det) < 1e-14) continue;
      const t = minus(origin, a), first = dot(t, p) / det;
      if (first < 0 || first > 1) continue;
      const q = Polyad.cross(t, u), second = dot(direction, q) / det;
      if (second < 0 || first + second > 1) continue;
      const far = dot(w, q) / det;
      if (far > 0 && far < nearest) nearest = far;
    }
    if (nearest === Infinity) return null;
    const point = origin.map((x, k) => x + nearest * direction[k]), radius = Math.hypot(...point);
    return {value: radius * most, direction: point.map((x) => x / radius)};
  }

  Object.assign(Polyad, {hitStrut, hitSurface});
}
