"""A small renderer for still pictures: orthographic camera, depth buffer, soft light.

matplotlib sorts whole polygons by depth, which goes wrong wherever struts cross; here every pixel keeps what is
nearest. Light comes from the upper left of the camera and from the sky, and edges in front of something farther away
darken what is behind them (unsharp masking of the depth buffer: Luft, Colditz and Deussen, SIGGRAPH 2006).
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import final

import numba
import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.view.meshes import DrawnMesh

SUPERSAMPLING = 2
"""Samples a pixel along each side."""

VIEWS = {"corner": (1.0, -1.9, 0.95), "x": (1.0, 0.0, 0.0), "y": (0.0, -1.0, 0.0), "z": (0.0, 0.0, 1.0)}
"""Directions from the picture's centre to the eye, by name."""


@final
@dataclass(frozen=True, eq=False)
class Camera:
    """Orthographic camera: rows of `axes` are right, up and towards the eye; `half` is half the picture's side."""

    axes: np.ndarray
    centre: np.ndarray
    half: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Picture coordinates (right, up, depth towards the eye); the picture spans -1..1."""
        return (points - self.centre) @ self.axes.T / self.half


def camera_for(
    points: np.ndarray, view: str | tuple[float, float, float] = "corner", *, margin: float = 1.06
) -> Camera:
    """A camera that sees all `points` (count, 3) from a direction, given by name ("corner", "x", "y", "z") or vector.

    Raises:
        InputError: an unknown name, or a vector without direction.
    """
    if isinstance(view, str) and view not in VIEWS:
        raise InputError(f"view: {view!r} is unknown; give one of {', '.join(VIEWS)} or a vector towards the eye")
    towards = np.asarray(VIEWS[view] if isinstance(view, str) else view, dtype=float)
    if towards.shape != (3,) or not np.isfinite(towards).all() or not towards.any():
        raise InputError(f"view: {view!r} has no direction; give three finite numbers, not all zero")
    towards = towards / np.linalg.norm(towards)
    upright = np.array([0.0, 1.0, 0.0]) if abs(towards[2]) > 0.999 else np.array([0.0, 0.0, 1.0])
    right = np.cross(upright, towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(towards, right), towards])
    seen = points @ axes.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    half = 0.5 * margin * max(float((high - low)[:2].max()), 1e-300)
    return Camera(axes, 0.5 * (low + high) @ axes, half)


def render(mesh: DrawnMesh, camera: Camera, *, pixels: int, fade: float = 0.25) -> np.ndarray:
    """Square RGBA picture (pixels, pixels, 4) in 0..1 with a transparent background; `fade` dims what is far."""
    side = pixels * SUPERSAMPLING
    seen = camera.project(mesh.vertices)
    screen = np.empty_like(seen)
    screen[:, 0] = (seen[:, 0] + 1) * 0.5 * side
    screen[:, 1] = (1 - seen[:, 1]) * 0.5 * side
    screen[:, 2] = seen[:, 2]
    attributes = np.concatenate([mesh.normals @ camera.axes.T, mesh.colours], axis=1)
    depth = np.full((side, side), -np.inf)
    buffer = np.zeros((side, side, 6))
    _fill(screen, attributes, mesh.triangles.astype(np.int64), depth, buffer)
    covered = np.isfinite(depth)
    colour = _shade(buffer[..., :3], buffer[..., 3:]) * _depth_light(depth, covered, fade)[..., None]
    image = np.concatenate([np.clip(colour, 0, 1) * covered[..., None], covered[..., None]], axis=-1)
    image = image.reshape(pixels, SUPERSAMPLING, pixels, SUPERSAMPLING, 4).mean(axis=(1, 3))
    image[..., :3] /= np.maximum(image[..., 3:], 1e-9)
    return image


def _shade(normals: np.ndarray, colours: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit = normals / np.where(length > 0, length, 1)
    unit = np.where(unit[..., 2:] < 0, -unit, unit)  # what faces away is seen from inside
    key, fill = np.array([-0.45, 0.62, 0.64]), np.array([0.8, -0.15, 0.58])
    halfway = key + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    diffuse = 0.34 + 0.62 * np.clip(unit @ key, 0, None) + 0.16 * np.clip(unit @ fill, 0, None) + 0.06 * unit[..., 1]
    shine = 0.28 * np.clip(unit @ halfway, 0, None) ** 42
    return colours * diffuse[..., None] + shine[..., None]


def _depth_light(depth: np.ndarray, covered: np.ndarray, fade: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    if not covered.any():
        return np.ones_like(depth)
    near, far = depth[covered].max(), depth[covered].min()
    height = np.where(covered, (depth - far) / max(near - far, 1e-12), 0.0)
    width = 0.012 * len(depth)
    weight = gaussian_filter(covered.astype(float), width)
    around = gaussian_filter(height, width) / np.maximum(weight, 1e-6)
    return (1 - fade * (1 - height)) * (1 - 1.1 * np.clip(around - height, 0, 0.45))


@numba.njit(cache=True, nogil=True)
@typing.no_type_check
def _fill(screen, attributes, triangles, depth, buffer):
    """Interpolate attributes over every triangle and keep the pixel nearest to the eye."""
    height, width = depth.shape
    for number in range(triangles.shape[0]):
        a, b, c = triangles[number]
        xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0.0:
            continue
        left, right = max(0, int(min(xa, xb, xc) - 0.5)), min(width - 1, int(max(xa, xb, xc) + 0.5))
        top, bottom = max(0, int(min(ya, yb, yc) - 0.5)), min(height - 1, int(max(ya, yb, yc) + 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                wa = ((xb - x) * (yc - y) - (xc - x) * (yb - y)) / area
                wb = ((xc - x) * (ya - y) - (xa - x) * (yc - y)) / area
                wc = 1.0 - wa - wb
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                z = wa * screen[a, 2] + wb * screen[b, 2] + wc * screen[c, 2]
                if z > depth[row, column]:
                    depth[row, column] = z
                    for k in range(6):
                        buffer[row, column, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
