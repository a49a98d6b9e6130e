"""The renderer's kernel: what a ray of light hits in a scene, and in which colour.

Each object is a handful of primitives (:mod:`.shapes`), signed distances that are marched inside
its bounding box; ground and wall are planes with procedural textures. Points and vectors are tuples
of three numbers.

All compiled functions stand in this file: numba's cache does not see changes in other ones.

References
----------
J. C. Hart, "Sphere tracing: a geometric method for the antialiased ray tracing of implicit
surfaces", The Visual Computer 12 (1996).
"""

from __future__ import annotations

import math

from numba import njit

# Kinds of primitive and texture, as numbers that the kernel understands.
ELLIPSOID, BOX, CONE, TORUS, CAPSULE = range(5)
PLAIN, CHECKER, PLANKS, STRIPES, BRICKS, SPECKLE, DOTS, HILLS = range(8)
UNION, SUBTRACT = range(2)

# Row of an object: position (3), cos/sin of yaw, scale, lowest and highest corner of its box (6),
# first and last row of its primitives.
OBJECT_WIDTH = 14
LOW, HIGH, FIRST, LAST = 6, 9, 12, 13
NO_HIT = 1e9
CONTACT = 0.31  # how far, in scene units, an object darkens what is near it
CORNERS = ((1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0), (1.0, 1.0, 1.0))

_options = {"cache": True, "nogil": True, "error_model": "numpy"}  # no checks for division by zero
_compiled, _inlined = njit(**_options), njit(**_options, inline="always")


@_compiled
def trace_rays(camera, light, planes, pictures, objects, primitives, points, colours, hits):
    """Fill `colours`, linear RGB (N, 3), and `hits` of the rays through image points (N, 2).

    Image points are (x, y) in [-1, 1]. A hit is 0 for the ground, 1 for the wall, 2 + i for the
    i-th object. The other arrays are those of `Scene.arrays`.
    """
    for i in range(len(points)):
        hits[i], colour = _trace(
            camera, light, planes, pictures, objects, primitives, points[i, 0], points[i, 1]
        )
        for k in range(3):
            colours[i, k] = colour[k]


@_inlined
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_inlined
def _along(p, t, v):
    return p[0] + t * v[0], p[1] + t * v[1], p[2] + t * v[2]


@_inlined
def _over(v, k):
    return v[0] / k, v[1] / k, v[2] / k


@_inlined
def _three(row, start):
    return row[start], row[start + 1], row[start + 2]


@_inlined
def _turned(obj, v):
    """A vector from world axes to the axes of an object (rotation about the vertical only)."""
    return obj[3] * v[0] - obj[4] * v[2], v[1], obj[4] * v[0] + obj[3] * v[2]


@_inlined
def _in_object(obj, p):
    """A point of the world in an object's axes and units."""
    return _over(_turned(obj, (p[0] - obj[0], p[1] - obj[1], p[2] - obj[2])), obj[5])


@_inlined
def _primitive_distance(row, p):
    """Signed distance to a primitive.

    Row: kind, axis, operation, centre (3), size (3), rounding, cos/sin of tilt, colour (3), gloss.
    """
    x = p[0] - row[3]
    y = p[1] - row[4]
    z = p[2] - row[5]
    if row[11] != 0.0:
        x, y = row[10] * x + row[11] * y, -row[11] * x + row[10] * y
    if row[1] == 1.0:
        y, z = z, y
    elif row[1] == 2.0:
        x, y = y, x
    kind = row[0]
    a, b, c = _three(row, 6)
    r = row[9]
    if kind == ELLIPSOID:  # half axes
        k0 = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        k1 = math.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
        if k1 < 1e-9:
            return -min(a, min(b, c))
        return k0 * (k0 - 1.0) / k1
    if kind == BOX:  # half sizes
        qx = abs(x) - a + r
        qy = abs(y) - b + r
        qz = abs(z) - c + r
        outer = (max(qx, 0.0), max(qy, 0.0), max(qz, 0.0))
        return math.sqrt(_dot(outer, outer)) + min(max(qx, max(qy, qz)), 0.0) - r
    radial = math.sqrt(x * x + z * z)
    if kind == CONE:  # capped: half height a, lower radius b, upper radius c
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
    if kind == TORUS:  # ring radius a, tube radius b
        return math.sqrt((radial - a) * (radial - a) + y * y) - b
    y -= min(max(y, -a), a)  # capsule: half length a, radius b
    return math.sqrt(radial * radial + y * y) - b


@_compiled
def _distance(primitives, obj, p):
    """Distance from a point in object space to an object, and the row of the nearest primitive."""
    best = NO_HIT
    which = int(obj[FIRST])
    for i in range(int(obj[FIRST]), int(obj[LAST])):
        d = _primitive_distance(primitives[i], p)
        if primitives[i, 2] == SUBTRACT:
            if -d > best:
                best = -d
                which = i
        elif d < best:
            best = d
            which = i
    return best, which


@_inlined
def _slab(low, high, p, v):
    """When a ray enters and leaves the space between two planes across one axis."""
    if abs(v) < 1e-12:
        v = 1e-12
    a = (low - p) / v
    b = (high - p) / v
    return min(a, b), max(a, b)


@_inlined
def _box(obj, p, v):
    """Where a ray in object space enters and leaves the bounding box of an object."""
    near, far = _slab(obj[LOW], obj[HIGH], p[0], v[0])
    near_y, far_y = _slab(obj[LOW + 1], obj[HIGH + 1], p[1], v[1])
    near_z, far_z = _slab(obj[LOW + 2], obj[HIGH + 2], p[2], v[2])
    return max(near, max(near_y, near_z)), min(far, min(far_y, far_z))


@_compiled
def _march(obj, primitives, origin, ray, limit):
    """First hit of a ray with one object: distance (NO_HIT if none) and row of the primitive."""
    p = _in_object(obj, origin)
    v = _turned(obj, ray)
    near, far = _box(obj, p, v)
    t = max(near, 0.0)
    stop = min(far, limit / obj[5])
    if t >= stop:
        return NO_HIT, 0
    for _ in range(48):
        d, which = _distance(primitives, obj, _along(p, t, v))
        if d < 0.004:
            return t * obj[5], which
        t += 0.95 * d
        if t > stop:
            break
    return NO_HIT, 0


@_compiled
def _shadow(objects, primitives, point, light, own):
    """Share of the light that reaches a point, with a penumbra that widens away from the object."""
    lit = 1.0
    for j in range(len(objects)):
        obj = objects[j]
        p = _in_object(obj, point)
        v = _turned(obj, light)
        near, stop = _box(obj, p, v)
        t = max(near, 0.06 if j == own else 0.02)
        if t >= stop:
            continue
        for _ in range(24):
            d, _w = _distance(primitives, obj, _along(p, t, v))
            lit = min(lit, 9.0 * d / (t + 0.2))
            if lit < 0.02:
                return 0.0
            t += max(d, 0.03)
            if t > stop:
                break
    return lit


@_inlined
def _hash(i, j):
    v = math.sin(i * 127.1 + j * 311.7) * 43758.5453
    return v - math.floor(v)


@_compiled
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


@_compiled
def _texture(row, u, v):
    """Colour of a textured plane. Row: kind, size of the pattern, first colour, second colour."""
    kind = row[0]
    a = u / row[1]
    b = v / row[1]
    mix = 0.0
    if kind == CHECKER:
        mix = float((int(math.floor(a)) + int(math.floor(b))) & 1)
    elif kind == PLANKS:
        strip = math.floor(b)
        along = a * 0.25 + 0.37 * strip
        mix = 0.55 * _hash(strip, math.floor(along)) + 0.2 * _noise(a * 1.5, b * 6.0)
        if b - strip < 0.06 or along - math.floor(along) < 0.012:
            mix = 1.0
    elif kind == STRIPES:
        mix = 1.0 if a - math.floor(a) < 0.5 else 0.0
    elif kind == BRICKS:
        row_number = math.floor(b)
        shifted = a * 0.5 + 0.5 * (row_number % 2.0)
        if b - row_number < 0.12 or shifted - math.floor(shifted) < 0.06:
            mix = 1.0
        else:
            mix = 0.35 * _hash(math.floor(shifted), row_number)
    elif kind == SPECKLE:
        mix = 0.6 * _noise(a, b) + 0.4 * _noise(a * 2.7 + 9.0, b * 2.7)
    elif kind == DOTS:
        fu = a - math.floor(a) - 0.5
        fv = b - math.floor(b) - 0.5
        mix = 1.0 if fu * fu + fv * fv < 0.075 else 0.0
    elif kind == HILLS:  # sky above two lines of hills; v is height
        ridge = 1.0 + 0.35 * math.sin(u * 0.9) + 0.18 * math.sin(u * 2.3 + 1.0)
        if v >= ridge:
            mix = max(0.0, 0.25 - 0.06 * (v - ridge))
        else:
            mix = 0.8 if v < ridge - 0.55 else 1.0
    rest = 1.0 - mix
    return (
        row[2] * rest + row[5] * mix, row[3] * rest + row[6] * mix, row[4] * rest + row[7] * mix
    )  # fmt: skip


@_compiled
def _wall(plane, pictures, u, v):
    """Colour of the wall, with its windows, frames and sun: flat shapes.

    Row of a picture: round?, centre (2), half sizes (2), rim, colour (3), colour of the rim (3).
    """
    colour = _texture(plane, u, v)
    for i in range(len(pictures)):
        row = pictures[i]
        if row[3] <= 0.0:
            continue
        du = abs(u - row[1])
        dv = abs(v - row[2])
        if row[0] == 1.0:
            inside = row[3] * (1.0 - math.sqrt((du / row[3]) ** 2 + (dv / row[4]) ** 2))
        else:
            inside = min(row[3] - du, row[4] - dv)
        if inside > 0.0:
            colour = _three(row, 6 if inside > row[5] else 9)
    return colour


@_compiled
def _normal(obj, primitives, p):
    """The outward normal of an object, in its axes and of any length, from four corners."""
    g = (0.0, 0.0, 0.0)
    for corner in CORNERS:
        d, _w = _distance(primitives, obj, _along(p, 0.004, corner))
        g = _along(g, d, corner)
    return g


@_compiled
def _contact(objects, primitives, point, own):
    """Share of the sky's light that is left beside other objects: the shadow where things touch."""
    share = 1.0
    for j in range(len(objects)):
        if j == own:
            continue
        obj = objects[j]
        p = _in_object(obj, point)
        reach = CONTACT / obj[5]
        if (
            obj[LOW] - reach < p[0] < obj[HIGH] + reach
            and obj[LOW + 1] - reach < p[1] < obj[HIGH + 1] + reach
            and obj[LOW + 2] - reach < p[2] < obj[HIGH + 2] + reach
        ):
            d, _w = _distance(primitives, obj, p)
            share *= min(1.0, 0.5 + 0.5 * max(d, 0.0) * obj[5] / CONTACT)
    return share


@_compiled
def _trace(camera, light, planes, pictures, objects, primitives, sx, sy):
    """What the ray through image point (sx, sy) hits, and its colour (linear RGB)."""
    origin = _three(camera, 0)
    half = camera[12]
    ray = (
        camera[9] + sx * half * camera[3] + sy * half * camera[6],
        camera[10] + sx * half * camera[4] + sy * half * camera[7],
        camera[11] + sx * half * camera[5] + sy * half * camera[8],
    )
    norm = 1.0 / math.sqrt(_dot(ray, ray))
    ray = (ray[0] * norm, ray[1] * norm, ray[2] * norm)

    limit = (planes[0, 8] - origin[2]) / ray[2] if ray[2] > 1e-6 else NO_HIT
    what = 1
    if ray[1] < -1e-6:
        ground = -origin[1] / ray[1]
        if ground < limit:
            limit = ground
            what = 0
    nearest = 0
    for j in range(len(objects)):
        t, which = _march(objects[j], primitives, origin, ray, limit)
        if t < limit:
            limit = t
            what = 2 + j
            nearest = which
    point = _along(origin, limit, ray)

    gloss = 0.0
    occlusion = 1.0
    if what == 0:
        normal = (0.0, 1.0, 0.0)
        colour = _texture(planes[0], point[0], point[2])
    elif what == 1:
        normal = (0.0, 0.0, -1.0)
        colour = _wall(planes[1], pictures, point[0], point[1])
        occlusion = min(1.0, 0.7 + 0.5 * point[1])
    else:
        obj = objects[what - 2]
        p = _in_object(obj, point)
        g = _normal(obj, primitives, p)
        # back to world axes: the inverse rotation
        normal = (obj[3] * g[0] + obj[4] * g[2], g[1], -obj[4] * g[0] + obj[3] * g[2])
        length = math.sqrt(_dot(normal, normal)) + 1e-12
        normal = _over(normal, length)
        d, _w = _distance(primitives, obj, _along(p, 0.12, _over(g, length)))
        occlusion = min(1.0, 0.45 + 4.6 * max(d, 0.0)) * min(1.0, 0.6 + 0.8 * point[1])
        colour = _three(primitives[nearest], 12)
        gloss = primitives[nearest, 15]
    occlusion *= _contact(objects, primitives, point, what - 2)

    lamp = _three(light, 0)
    facing = _dot(normal, lamp)
    lit = 0.0
    if facing > 0.0:
        lit = _shadow(objects, primitives, _along(point, 0.01, normal), lamp, what - 2)
    shine = 0.0
    if gloss > 0.0 and lit > 0.0:
        middle = (lamp[0] - ray[0], lamp[1] - ray[1], lamp[2] - ray[2])
        h = _dot(normal, middle) / math.sqrt(_dot(middle, middle))
        if h > 0.0:
            shine = gloss * lit * h**40
    sky = (0.65 + 0.35 * normal[1]) * occlusion
    direct = max(facing, 0.0) * lit
    return what, (
        colour[0] * (light[3] * direct + light[6] * sky) + light[3] * shine,
        colour[1] * (light[4] * direct + light[7] * sky) + light[4] * shine,
        colour[2] * (light[5] * direct + light[8] * sky) + light[5] * shine,
    )
