// A small WebGL2 scene: cylinders and balls drawn as instances, and one coloured surface.
// Drawn on demand only. Drag or arrow keys turn, pinch, + and - or Ctrl + wheel zoom, the space bar starts and stops the rotation.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const SHADE = `
    vec3 shade(vec3 normal, vec3 tint, vec3 eye) {
      vec3 n = normalize(normal);
      if (!gl_FrontFacing) n = -n;
      vec3 key = normalize(vec3(-.45, .62, .64)), side = normalize(vec3(.8, -.15, .58)), halfway = normalize(key + eye);
      float light = .36 + .62 * max(dot(n, key), 0.) + .16 * max(dot(n, side), 0.) + .06 * n.y;
      return tint * light + .26 * pow(max(dot(n, halfway), 0.), 42.);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec3 normal, tint, at;
    uniform vec3 paper;
    uniform vec2 depths;
    uniform float fade;
    out vec4 colour;
    ${SHADE}
    void main() {
      float far = clamp((-at.z - depths.x) / (depths.y - depths.x), 0., 1.);
      colour = vec4(mix(shade(normal, tint, normalize(-at)), paper, fade * far), 1.);
    }`;
  const END = `
      at = (view * vec4(place, 1.)).xyz;
      normal = mat3(view) * outward;
      gl_Position = projection * vec4(at, 1.);
    }`;
  const VERTEX = {
    strut: `#version 300 es
    in vec2 corner; in vec3 start, end, colouring; in float radius;
    uniform mat4 view, projection;
    out vec3 normal, tint, at;
    void main() {
      vec3 along = normalize(end - start);
      vec3 across = normalize(cross(along, abs(along.z) < .8 ? vec3(0, 0, 1) : vec3(1, 0, 0)));
      vec3 outward = cos(corner.x) * across + sin(corner.x) * cross(along, across);
      vec3 place = mix(start, end, corner.y) + radius * outward;
      tint = colouring;` + END,
    ball: `#version 300 es
    in vec3 corner, start, colouring; in float radius;
    uniform mat4 view, projection;
    out vec3 normal, tint, at;
    void main() {
      vec3 outward = corner, place = start + radius * corner;
      tint = colouring;` + END,
    surface: `#version 300 es
    in vec3 corner, facing, colouring;
    uniform mat4 view, projection;
    out vec3 normal, tint, at;
    void main() {
      vec3 outward = facing, place = corner;
      tint = colouring;` + END,
  };

  const HALF_ANGLE = 0.2; // of the view, in radians: a long lens, nearly parallel

  class Scene {
    // host: an element that gets a canvas, a triad and a tooltip; describe(hit) gives the tooltip's text
    constructor(host, camera, {label, describe, fade = 0.35} = {}) {
      Object.assign(this, {host, camera, describe, fade, centre: [0, 0, 0], size: 1, parts: {}, visible: true, waiting: false});
      this.canvas = element("canvas", {tabIndex: 0, role: "img", ariaLabel: label ?? "drawing"});
      this.triad = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      this.triad.setAttribute("class", "triad");
      this.triad.setAttribute("viewBox", "-32 -32 64 64");
      this.triad.setAttribute("aria-hidden", "true");
      this.hint = element("div", {className: "tooltip", hidden: true});
      host.classList.add("scene");
      host.append(this.canvas, this.triad, this.hint);
      camera.scenes.add(this);
      this.gl = this.canvas.getContext("webgl2", {antialias: true, alpha: true, preserveDrawingBuffer: true});
      if (!this.gl) {
        host.append(element("p", {className: "missing", textContent: "This browser has no WebGL2: enable it to see drawings in three dimensions."}));
        return;
      }
      this.prepare();
      this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      this.canvas.addEventListener("webglcontextrestored", () => {
        this.prepare();
        for (const [name, data] of Object.entries(this.parts)) if (data) this.upload(name, data.source);
        this.draw();
      });
      new ResizeObserver(() => this.draw()).observe(host);
      new IntersectionObserver(([entry]) => {
        this.visible = entry.isIntersecting;
        if (this.visible) this.draw();
      }).observe(host);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      this.listen();
    }

    prepare() {
      const gl = this.gl;
      this.programs = Object.fromEntries(Object.entries(VERTEX).map(([name, text]) => [name, link(gl, text, FRAGMENT)]));
      gl.enable(gl.DEPTH_TEST);
    }

    // struts: {starts, ends, radii, tints}, flat arrays
    setStruts(struts) {
      const sides = struts.radii.length < 4000 ? 24 : struts.radii.length < 40000 ? 10 : 6;
      const corners = [], faces = [];
      for (let s = 0; s <= sides; s++) corners.push((2 * Math.PI * s) / sides, 0, (2 * Math.PI * s) / sides, 1);
      for (let s = 0; s < 2 * sides; s += 2) faces.push(s, s + 2, s + 3, s, s + 3, s + 1);
      this.upload("strut", {
        corner: [corners, 2], faces, instances: struts.radii.length,
        each: {start: [struts.starts, 3], end: [struts.ends, 3], radius: [struts.radii, 1], colouring: [struts.tints, 3]},
      });
      this.struts = struts;
    }

    // balls: {centres, radii, tints}
    setBalls(balls) {
      const {points, faces} = Polyad.sphere(balls.radii.length < 2000 ? 3 : 2);
      this.upload("ball", {
        corner: [points, 3], faces, instances: balls.radii.length,
        each: {start: [balls.centres, 3], radius: [balls.radii, 1], colouring: [balls.tints, 3]},
      });
    }

    setSurface(surface) {
      this.surface = surface;
      this.upload("surface", surface && {corner: [surface.vertices, 3], facing: [surface.normals, 3], colouring: [surface.tints, 3], faces: surface.faces});
    }

    fit(centre, size) {
      [this.centre, this.size] = [centre, size];
    }

    upload(name, source) {
      const gl = this.gl;
      if (!gl) return;
      for (const buffer of this.parts[name]?.buffers ?? []) gl.deleteBuffer(buffer);
      if (this.parts[name]) gl.deleteVertexArray(this.parts[name].array);
      if (!source) return void (this.parts[name] = null);
      const array = gl.createVertexArray(), buffers = [];
      gl.bindVertexArray(array);
      const attach = (key, [values, width], divisor) => {
        const place = gl.getAttribLocation(this.programs[name], key), buffer = gl.createBuffer();
        buffers.push(buffer);
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.bufferData(gl.ARRAY_BUFFER, Float32Array.from(values), gl.STATIC_DRAW);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, width, gl.FLOAT, false, 0, 0);
        gl.vertexAttribDivisor(place, divisor);
      };
      for (const key of ["corner", "facing", "colouring"]) if (source[key]) attach(key, source[key], 0);
      for (const [key, values] of Object.entries(source.each ?? {})) attach(key, values, 1);
      const faces = gl.createBuffer();
      buffers.push(faces);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, faces);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, Uint32Array.from(source.faces), gl.STATIC_DRAW);
      gl.bindVertexArray(null);
      this.parts[name] = {array, buffers, source, count: source.faces.length, instances: source.instances ?? 1};
    }

    draw() {
      if (!this.gl || this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.paint();
      });
    }

    paint() {
      const gl = this.gl, density = Math.min(devicePixelRatio || 1, 2);
      const [width, height] = [this.host.clientWidth, this.host.clientHeight].map((x) => Math.max(1, Math.round(x * density)));
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, {width, height});
      const axes = this.camera.axes(), {distance, scale} = this.lens();
      const shift = axes.map((axis) => -dot(axis, this.centre));
      shift[2] -= distance;
      const view = [0, 1, 2].flatMap((k) => [axes[0][k], axes[1][k], axes[2][k], 0]).concat([...shift, 1]);
      const near = Math.max(distance - 1.5 * this.size, 0.02 * distance), far = distance + 1.5 * this.size;
      const projection = [scale[0], 0, 0, 0, 0, scale[1], 0, 0, 0, 0, -(far + near) / (far - near), -1, 0, 0, (-2 * far * near) / (far - near), 0];
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const paper = paperColour(this.host);
      for (const [name, part] of Object.entries(this.parts)) {
        if (!part) continue;
        const program = this.programs[name], at = (key) => gl.getUniformLocation(program, key);
        gl.useProgram(program);
        gl.uniformMatrix4fv(at("view"), false, view);
        gl.uniformMatrix4fv(at("projection"), false, projection);
        gl.uniform3fv(at("paper"), paper);
        gl.uniform2f(at("depths"), distance - this.size, distance + this.size);
        gl.uniform1f(at("fade"), this.fade);
        gl.bindVertexArray(part.array);
        gl.drawElementsInstanced(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0, part.instances);
      }
      gl.bindVertexArray(null);
      this.paintTriad(axes);
    }

    lens() {
      const aspect = this.host.clientWidth / Math.max(this.host.clientHeight, 1);
      const distance = (0.99 * this.size) / Math.sin(HALF_ANGLE), flat = this.camera.zoom / Math.tan(HALF_ANGLE);
      return {distance, scale: aspect > 1 ? [flat / aspect, flat] : [flat, flat * aspect]};
    }

    paintTriad(axes) {
      const order = [0, 1, 2].sort((a, b) => axes[2][a] - axes[2][b]);
      this.triad.replaceChildren(...order.flatMap((k) => {
        const [x, y] = [20 * axes[0][k], -20 * axes[1][k]];
        const line = document.createElementNS(this.triad.namespaceURI, "line"), text = document.createElementNS(this.triad.namespaceURI, "text");
        Object.entries({x1: 0, y1: 0, x2: x, y2: y}).forEach(([key, value]) => line.setAttribute(key, value));
        Object.entries({x: 1.32 * x, y: 1.32 * y + 3.5}).forEach(([key, value]) => text.setAttribute(key, value));
        text.textContent = "xyz"[k];
        return Math.hypot(x, y) < 2 ? [] : [line, text];
      }));
    }

    // Origin and direction of the ray through a point of the canvas.
    ray(x, y) {
      const axes = this.camera.axes(), {distance, scale} = this.lens();
      const across = (2 * x) / this.host.clientWidth - 1, up = 1 - (2 * y) / this.host.clientHeight;
      const direction = [0, 1, 2].map((k) => (axes[0][k] * across) / scale[0] + (axes[1][k] * up) / scale[1] - axes[2][k]);
      return {origin: this.centre.map((c, k) => c + distance * axes[2][k]), direction};
    }

    listen() {
      const pointers = new Map();
      this.canvas.addEventListener("pointerdown", (event) => {
        this.canvas.setPointerCapture(event.pointerId);
        pointers.set(event.pointerId, [event.clientX, event.clientY]);
        this.hint.hidden = true;
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) this.canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
      this.canvas.addEventListener("pointermove", (event) => {
        const before = pointers.get(event.pointerId), now = [event.clientX, event.clientY];
        if (!before) return this.point(event.offsetX, event.offsetY);
        const spread = () => Math.hypot(...[...pointers.values()].reduce((a, b) => [a[0] - b[0], a[1] - b[1]]));
        const apart = pointers.size > 1 ? spread() : 0;
        pointers.set(event.pointerId, now);
        this.camera.rotate(false);
        if (pointers.size > 1) this.camera.magnify(spread() / Math.max(apart, 1));
        else this.camera.turn((before[0] - now[0]) * 0.008, (now[1] - before[1]) * 0.008);
      });
      this.canvas.addEventListener("pointerleave", () => (this.hint.hidden = true));
      // the plain wheel scrolls the page
      this.canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.camera.magnify(Math.exp(-event.deltaY * 0.002));
      }, {passive: false});
      const keys = {
        ArrowLeft: () => this.camera.turn(-0.12, 0), ArrowRight: () => this.camera.turn(0.12, 0),
        ArrowUp: () => this.camera.turn(0, 0.12), ArrowDown: () => this.camera.turn(0, -0.12),
        "+": () => this.camera.magnify(1.2), "-": () => this.camera.magnify(1 / 1.2), " ": () => this.camera.rotate(!this.camera.rotating),
      };
      this.canvas.addEventListener("keydown", (event) => {
        if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        if (event.key.startsWith("Arrow")) this.camera.rotate(false);
        keys[event.key]();
      });
    }

    point(x, y) {
      const hit = this.describe && this.pick(x, y);
      this.hint.hidden = !hit;
      if (!hit) return;
      this.hint.textContent = this.describe(hit);
      this.hint.style.left = `${Math.min(x + 14, this.host.clientWidth - this.hint.offsetWidth - 4)}px`;
      this.hint.style.top = `${Math.max(y - this.hint.offsetHeight - 10, 4)}px`;
    }

    // What is nearest to the eye under a point: {strut} (number in the drawing) or {value, direction} on the surface.
    pick(x, y) {
      const ray = this.ray(x, y);
      return this.surface ? Polyad.hitSurface(ray, this.surface) : this.struts ? Polyad.hitStrut(ray, this.struts) : null;
    }
  }

  function link(gl, vertex, fragment) {
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(`WebGL: ${gl.getProgramInfoLog(program)}`);
    return program;
  }

  function paperColour(host) {
    const [, ...parts] = getComputedStyle(host).backgroundColor.match(/(\d+)\D+(\d+)\D+(\d+)/) ?? [0, 255, 255, 255];
    return parts.map((x) => x / 255);
  }

  function element(tag, {ariaLabel, role, ...fields} = {}, ...children) {
    const made = Object.assign(document.createElement(tag), fields);
    if (ariaLabel) made.setAttribute("aria-label", ariaLabel);
    if (role) made.setAttribute("role", role);
    made.append(...children);
    return made;
  }

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  Object.assign(Polyad, {Scene, element});
}
