"""A small ray tracer for tabletop scenes: signed-distance objects, shadows, perspective.

Each object is a handful of primitives (:mod:`erragree_utils.tabletop.shapes`) marched inside its
bounding box; the ground and the wall are planes with procedural textures. The kernel is compiled
by numba and releases the GIL, so scenes render in parallel on plain threads.

References
----------
J. C. Hart, "Sphere tracing: a geometric method for the antialiased ray tracing of implicit
surfaces", The Visual Computer 12 (1996).
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .scenes import Scene

# Kinds of primitive, texture and picture on the wall, as numbers that the kernel understands.
ELLIPSOID, BOX, CONE, TORUS, CAPSULE = range(5)
PLAIN, CHECKER, PLANKS, STRIPES, BRICKS, SPECKLE, DOTS, HILLS = range(8)
UNION, SUBTRACT = range(2)

# Row of a primitive: kind, axis, operation, centre (3), size (3), rounding, cos/sin of tilt,
# colour (3), gloss.
PRIMITIVE_WIDTH = 16
# Row of an object: position (3), cos/sin of yaw, scale, lowest and highest corner of its box (6),
# first and last row of its primitives.
OBJECT_WIDTH = 14
LOW, HIGH, FIRST, LAST = 6, 9, 12, 13
NO_HIT = 1e9
CONTACT = 0.31  # how far, in scene units, an object darkens what is near it
CONTRAST = 0.09  # neighbouring pixels that differ by more are supersampled


@njit(cache=True, nogil=True, inline="always")
def _primitive_distance(row, x, y, z):
    x -= row[3]
    y -= row[4]
    z -= row[5]
    if row[11] != 0.0:
        x, y = row[10] * x + row[11] * y, -row[11] * x + row[10] * y
    if row[1] == 1.0:
        y, z = z, y
    elif row[1] == 2.0:
        x, y = y, x
    kind = row[0]
    a = row[6]
    b = row[7]
    c = row[8]
    r = row[9]
    if kind == 0.0:
        k0 = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        k1 = math.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
        if k1 < 1e-9:
            return -min(a, min(b, c))
        return k0 * (k0 - 1.0) / k1
    if kind == 1.0:
        qx = abs(x) - a + r
        qy = abs(y) - b + r
        qz = abs(z) - c + r
        ox = max(qx, 0.0)
        oy = max(qy, 0.0)
        oz = max(qz, 0.0)
        return math.sqrt(ox * ox + oy * oy + oz * oz) + min(max(qx, max(qy, qz)), 0.0) - r
    radial = math.sqrt(x * x + z * z)
    if kind == 2.0:  # capped cone: half height a, lower radius b, upper radius c
        h = a - r
        r1 = max(b - r, 0.0)
        r2 = max(c - r, 0.0)
        k2x = r2 - r1
        k2y = 2.0 * h
        cap = r1 if y < 0.0 else r2
        ax = radial - min(radial, cap)
        ay = abs(y) - h
        t = ((r2 - radial) * k2x + (h - y) * k2y) / (k2x * k2x + k2y * k2y)
        t = min(max(t, 0.0), 1.0)
        bx = radial - r2 + k2x * t
        by = y - h + k2y * t
        sign = -1.0 if bx < 0.0 and ay < 0.0 else 1.0
        return sign * math.sqrt(min(ax * ax + ay * ay, bx * bx + by * by)) - r
    if kind == 3.0:  # torus: ring radius a, tube radius b
        q = radial - a
        return math.sqrt(q * q + y * y) - b
    y -= min(max(y, -a), a)  # capsule: half length a, radius b
    return math.sqrt(radial * radial + y * y) - b


@njit(cache=True, nogil=True)
def _distance(primitives, start, stop, x, y, z):
    """Distance from a point in object space to one object, and the row of the nearest primitive."""
    best = NO_HIT
    which = start
    for i in range(start, stop):
        row = primitives[i]
        d = _primitive_distance(row, x, y, z)
        if row[2] == 1.0:
            if -d > best:
                best = -d
                which = i
        elif d < best:
            best = d
            which = i
    return best, which


@njit(cache=True, nogil=True, inline="always")
def _to_object(obj, x, y, z):
    """A vector from world axes to the axes of an object (rotation about the vertical only)."""
    return obj[3] * x - obj[4] * z, y, obj[4] * x + obj[3] * z


@njit(cache=True, nogil=True, inline="always")
def _box(obj, px, py, pz, vx, vy, vz):
    """Where a ray in object space enters and leaves the bounding box of an object."""
    near = -NO_HIT
    far = NO_HIT
    for k in range(3):
        p = px if k == 0 else py if k == 1 else pz
        v = vx if k == 0 else vy if k == 1 else vz
        if abs(v) < 1e-12:
            v = 1e-12
        a = (obj[LOW + k] - p) / v
        b = (obj[HIGH + k] - p) / v
        near = max(near, min(a, b))
        far = min(far, max(a, b))
    return near, far


@njit(cache=True, nogil=True)
def _march(obj, primitives, ox, oy, oz, dx, dy, dz, limit):
    """First hit of a ray with one object: distance (NO_HIT if none) and row of the primitive."""
    scale = obj[5]
    px, py, pz = _to_object(obj, ox - obj[0], oy - obj[1], oz - obj[2])
    vx, vy, vz = _to_object(obj, dx, dy, dz)
    px /= scale
    py /= scale
    pz /= scale
    near, far = _box(obj, px, py, pz, vx, vy, vz)
    t = max(near, 0.0)
    stop = min(far, limit / scale)
    if t >= stop:
        return NO_HIT, 0
    start_row = int(obj[FIRST])
    stop_row = int(obj[LAST])
    for _ in range(48):
        d, which = _distance(primitives, start_row, stop_row, px + t * vx, py + t * vy, pz + t * vz)
        if d < 0.004:
            return t * scale, which
        t += 0.95 * d
        if t > stop:
            break
    return NO_HIT, 0


@njit(cache=True, nogil=True)
def _shadow(objects, primitives, x, y, z, light, own):
    """Share of the light that reaches a point, with a penumbra that widens away from the object."""
    lit = 1.0
    for j in range(objects.shape[0]):
        obj = objects[j]
        scale = obj[5]
        px, py, pz = _to_object(obj, x - obj[0], y - obj[1], z - obj[2])
        vx, vy, vz = _to_object(obj, light[0], light[1], light[2])
        px /= scale
        py /= scale
        pz /= scale
        near, stop = _box(obj, px, py, pz, vx, vy, vz)
        t = max(near, 0.06 if j == own else 0.02)
        if t >= stop:
            continue
        for _ in range(24):
            d, _w = _distance(
                primitives, int(obj[FIRST]), int(obj[LAST]), px + t * vx, py + t * vy, pz + t * vz
            )
            lit = min(lit, 9.0 * d / (t + 0.2))
            if lit < 0.02:
                return 0.0
            t += max(d, 0.03)
            if t > stop:
                break
    return lit


@njit(cache=True, nogil=True, inline="always")
def _hash(i, j):
    v = math.sin(i * 127.1 + j * 311.7) * 43758.5453
    return v - math.floor(v)


@njit(cache=True, nogil=True)
def _noise(x, y):
    i = math.floor(x)
    j = math.floor(y)
    u = x - i
    v = y - j
    u = u * u * (3.0 - 2.0 * u)
    v = v * v * (3.0 - 2.0 * v)
    low = _hash(i, j) * (1.0 - u) + _hash(i + 1.0, j) * u
    high = _hash(i, j + 1.0) * (1.0 - u) + _hash(i + 1.0, j + 1.0) * u
    return low * (1.0 - v) + high * v


@njit(cache=True, nogil=True)
def _texture(row, u, v, out):
    """Albedo of a textured plane. Row: kind, size of the pattern, first colour, second colour."""
    kind = row[0]
    s = row[1]
    a = u / s
    b = v / s
    mix = 0.0
    if kind == 1.0:
        mix = float((int(math.floor(a)) + int(math.floor(b))) & 1)
    elif kind == 2.0:
        strip = math.floor(b)
        along = a * 0.25 + 0.37 * strip
        mix = 0.55 * _hash(strip, math.floor(along)) + 0.2 * _noise(a * 1.5, b * 6.0)
        if b - strip < 0.06 or along - math.floor(along) < 0.012:
            mix = 1.0
    elif kind == 3.0:
        mix = 1.0 if a - math.floor(a) < 0.5 else 0.0
    elif kind == 4.0:
        row_number = math.floor(b)
        shifted = a * 0.5 + 0.5 * (row_number % 2.0)
        if b - row_number < 0.12 or shifted - math.floor(shifted) < 0.06:
            mix = 1.0
        else:
            mix = 0.35 * _hash(math.floor(shifted), row_number)
    elif kind == 5.0:
        mix = 0.6 * _noise(a, b) + 0.4 * _noise(a * 2.7 + 9.0, b * 2.7)
    elif kind == 6.0:
        fu = a - math.floor(a) - 0.5
        fv = b - math.floor(b) - 0.5
        mix = 1.0 if fu * fu + fv * fv < 0.075 else 0.0
    elif kind == 7.0:  # sky above two lines of hills; v is height
        ridge = 1.0 + 0.35 * math.sin(u * 0.9) + 0.18 * math.sin(u * 2.3 + 1.0)
        if v < ridge:
            mix = 1.0
            if v < ridge - 0.55:
                mix = 0.8
        else:
            mix = max(0.0, 0.25 - 0.06 * (v - ridge))
    for k in range(3):
        out[k] = row[2 + k] * (1.0 - mix) + row[5 + k] * mix


@njit(cache=True, nogil=True)
def _wall_pictures(rows, u, v, out):
    """Windows, frames, sun: flat shapes on the wall.

    Row: round?, centre (2), half sizes (2), rim, colour (3), colour of the rim (3).
    """
    for i in range(rows.shape[0]):
        row = rows[i]
        if row[3] <= 0.0:
            continue
        du = abs(u - row[1])
        dv = abs(v - row[2])
        if row[0] == 1.0:
            inside = row[3] * (1.0 - math.sqrt((du / row[3]) ** 2 + (dv / row[4]) ** 2))
        else:
            inside = min(row[3] - du, row[4] - dv)
        if inside > 0.0:
            base = 6 if inside > row[5] else 9
            for k in range(3):
                out[k] = row[base + k]


@njit(cache=True, nogil=True)
def _trace(camera, light, planes, pictures, objects, primitives, sx, sy, out):
    """Colour (linear RGB) of the ray through image point (sx, sy) in [-1, 1]; returns what it hit.

    0 is the ground, 1 the wall, 2 + i the i-th object.
    """
    dx = camera[9] + sx * camera[12] * camera[3] + sy * camera[12] * camera[6]
    dy = camera[10] + sx * camera[12] * camera[4] + sy * camera[12] * camera[7]
    dz = camera[11] + sx * camera[12] * camera[5] + sy * camera[12] * camera[8]
    norm = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
    dx *= norm
    dy *= norm
    dz *= norm
    ox = camera[0]
    oy = camera[1]
    oz = camera[2]
    wall_z = planes[0, 8]

    limit = (wall_z - oz) / dz if dz > 1e-6 else NO_HIT
    what = 1
    if dy < -1e-6:
        ground = -oy / dy
        if ground < limit:
            limit = ground
            what = 0
    row = 0
    for j in range(objects.shape[0]):
        t, which = _march(objects[j], primitives, ox, oy, oz, dx, dy, dz, limit)
        if t < limit:
            limit = t
            what = 2 + j
            row = which
    x = ox + limit * dx
    y = oy + limit * dy
    z = oz + limit * dz

    nx = 0.0
    ny = 0.0
    nz = 0.0
    gloss = 0.0
    occlusion = 1.0
    if what == 0:
        ny = 1.0
        _texture(planes[0], x, z, out)
    elif what == 1:
        nz = -1.0
        _texture(planes[1], x, y, out)
        _wall_pictures(pictures, x, y, out)
        occlusion = min(1.0, 0.7 + 0.5 * y)
    else:
        obj = objects[what - 2]
        scale = obj[5]
        px, py, pz = _to_object(obj, x - obj[0], y - obj[1], z - obj[2])
        px /= scale
        py /= scale
        pz /= scale
        first = int(obj[FIRST])
        last = int(obj[LAST])
        gx = 0.0
        gy = 0.0
        gz = 0.0
        e = 0.004
        for k in range(4):
            ex = 1.0 if k == 0 or k == 3 else -1.0
            ey = 1.0 if k == 1 or k == 3 else -1.0
            ez = 1.0 if k == 2 or k == 3 else -1.0
            d, _w = _distance(primitives, first, last, px + e * ex, py + e * ey, pz + e * ez)
            gx += d * ex
            gy += d * ey
            gz += d * ez
        # back to world axes: the inverse rotation
        nx = obj[3] * gx + obj[4] * gz
        ny = gy
        nz = -obj[4] * gx + obj[3] * gz
        length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
        nx /= length
        ny /= length
        nz /= length
        gx /= length
        gy /= length
        gz /= length
        d, _w = _distance(primitives, first, last, px + 0.12 * gx, py + 0.12 * gy, pz + 0.12 * gz)
        occlusion = min(1.0, 0.45 + 4.6 * max(d, 0.0)) * min(1.0, 0.6 + 0.8 * y)
        for k in range(3):
            out[k] = primitives[row, 12 + k]
        gloss = primitives[row, 15]
    for j in range(objects.shape[0]):  # contact shadow that objects leave on what is near them
        if what == 2 + j:
            continue
        obj = objects[j]
        px, py, pz = _to_object(obj, x - obj[0], y - obj[1], z - obj[2])
        s = obj[5]
        px /= s
        py /= s
        pz /= s
        reach = CONTACT / s
        if (
            obj[LOW] - reach < px < obj[HIGH] + reach
            and obj[LOW + 1] - reach < py < obj[HIGH + 1] + reach
            and obj[LOW + 2] - reach < pz < obj[HIGH + 2] + reach
        ):
            d, _w = _distance(primitives, int(obj[FIRST]), int(obj[LAST]), px, py, pz)
            occlusion *= min(1.0, 0.5 + 0.5 * max(d, 0.0) * s / CONTACT)

    facing = nx * light[0] + ny * light[1] + nz * light[2]
    lit = 0.0
    if facing > 0.0:
        lit = _shadow(
            objects, primitives, x + 0.01 * nx, y + 0.01 * ny, z + 0.01 * nz, light, what - 2
        )
    shine = 0.0
    if gloss > 0.0 and lit > 0.0:
        hx = light[0] - dx
        hy = light[1] - dy
        hz = light[2] - dz
        h = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz)
        if h > 0.0:
            shine = gloss * lit * h**40
    sky = (0.65 + 0.35 * ny) * occlusion
    direct = max(facing, 0.0) * lit
    for k in range(3):
        out[k] = out[k] * (light[3 + k] * direct + light[6 + k] * sky) + light[3 + k] * shine
    return what


@njit(cache=True, nogil=True)
def _render(camera, light, planes, pictures, objects, primitives, size, supersample, image, hits):
    """Render a scene: one ray a pixel, then `supersample` squared more where neighbours differ."""
    linear = np.empty((size, size, 3))
    colour = np.empty(3)
    for i in range(size):
        sy = 1.0 - 2.0 * (i + 0.5) / size
        for j in range(size):
            sx = 2.0 * (j + 0.5) / size - 1.0
            hits[i, j] = _trace(
                camera, light, planes, pictures, objects, primitives, sx, sy, colour
            )
            for k in range(3):
                linear[i, j, k] = math.sqrt(min(max(colour[k], 0.0), 1.0))
    for i in range(size):
        for j in range(size):
            edge = False
            for step in range(4):
                i2 = i + (1 if step == 0 else -1 if step == 1 else 0)
                j2 = j + (1 if step == 2 else -1 if step == 3 else 0)
                if i2 < 0 or j2 < 0 or i2 >= size or j2 >= size:
                    continue
                if hits[i2, j2] != hits[i, j]:
                    edge = True
                    break
                difference = 0.0
                for k in range(3):
                    difference += abs(linear[i2, j2, k] - linear[i, j, k])
                if difference > 3.0 * CONTRAST:
                    edge = True
                    break
            if edge and supersample > 1:
                total0 = 0.0
                total1 = 0.0
                total2 = 0.0
                for a in range(supersample):
                    for b in range(supersample):
                        sy = 1.0 - 2.0 * (i + (a + 0.5) / supersample) / size
                        sx = 2.0 * (j + (b + 0.5) / supersample) / size - 1.0
                        _trace(camera, light, planes, pictures, objects, primitives, sx, sy, colour)
                        total0 += min(max(colour[0], 0.0), 1.0)
                        total1 += min(max(colour[1], 0.0), 1.0)
                        total2 += min(max(colour[2], 0.0), 1.0)
                n = supersample * supersample
                image[i, j, 0] = int(255.0 * math.sqrt(total0 / n) + 0.5)
                image[i, j, 1] = int(255.0 * math.sqrt(total1 / n) + 0.5)
                image[i, j, 2] = int(255.0 * math.sqrt(total2 / n) + 0.5)
            else:
                for k in range(3):
                    image[i, j, k] = int(255.0 * linear[i, j, k] + 0.5)


def render_scene(
    scene: Scene, size: int = 96, supersample: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Height and width in pixels.
    supersample : int
        Rays per side of a pixel at edges (``1`` turns antialiasing off; figures use 4).

    Returns
    -------
    image : uint8 array (size, size, 3)
        sRGB-like colours (gamma 2).
    hits : int16 array (size, size)
        What each pixel's centre shows: 0 ground, 1 wall, ``2 + i`` the i-th object of the scene.

    Raises
    ------
    ValueError
        If `size` or `supersample` is not positive.
    """
    if size < 1 or supersample < 1:
        raise ValueError(f"size and supersample must be positive, got {size} and {supersample}")
    image = np.empty((size, size, 3), np.uint8)
    hits = np.empty((size, size), np.int16)
    _render(*scene.arrays(), size, supersample, image, hits)
    return image, hits


def render_many(
    scenes: Sequence[Scene] | Iterable[Scene],
    size: int = 96,
    supersample: int = 2,
    threads: int | None = None,
) -> np.ndarray:
    """Render scenes on all cores; uint8 array (N, size, size, 3), in the order given.

    Threads suffice, since the kernel releases the GIL; `threads` defaults to the number of cores.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        images = list(pool.map(lambda s: render_scene(s, size, supersample)[0], scenes))
    return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
