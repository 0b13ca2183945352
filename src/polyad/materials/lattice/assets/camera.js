// The camera that scenes share: it turns about their centres, by hand or by itself.
"use strict";
globalThis.Polyad = globalThis.Polyad ?? {};
{
  const VIEWS = {corner: [-1.087, 0.418], x: [0, 0], y: [-Math.PI / 2, 0], z: [-Math.PI / 2, Math.PI / 2]};

  class Camera {
    constructor() {
      this.scenes = new Set();
      this.rotating = false;
      this.zoom = 1;
      [this.azimuth, this.elevation] = VIEWS.corner;
    }
    turn(azimuth, elevation) {
      this.azimuth += azimuth;
      this.elevation = Math.min(Math.max(this.elevation + elevation, -Math.PI / 2), Math.PI / 2);
      this.changed();
    }
    look(name) {
      [this.azimuth, this.elevation] = VIEWS[name];
      this.zoom = 1;
      this.changed();
    }
    magnify(factor) {
      this.zoom = Math.min(Math.max(this.zoom * factor, 0.4), 12);
      this.changed();
    }
    rotate(on) {
      if (on === this.rotating) return;
      this.rotating = on;
      for (const scene of this.scenes) scene.host.dispatchEvent(new CustomEvent("rotating", {bubbles: true, detail: on}));
      let before = performance.now();
      const step = (now) => {
        if (!this.rotating) return;
        if ([...this.scenes].some((scene) => scene.visible)) this.turn(Math.min(now - before, 100) * 3e-4, 0);
        before = now;
        requestAnimationFrame(step);
      };
      if (on) requestAnimationFrame(step);
    }
    changed() {
      for (const scene of this.scenes) scene.draw();
    }
    // rows: right, up, towards the eye
    axes() {
      const [ca, sa, ce, se] = [Math.cos(this.azimuth), Math.sin(this.azimuth), Math.cos(this.elevation), Math.sin(this.elevation)];
      return [[-sa, ca, 0], [-se * ca, -se * sa, ce], [ce * ca, ce * sa, se]];
    }
  }

  Object.assign(Polyad, {Camera});
}
