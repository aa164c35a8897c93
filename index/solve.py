"""The most probable box, given rectangles in pictures, the ground, and a prior: least squares, compiled.

Unknown are the box's centre (3, metres), its yaw from the prior's rotation (radians, about the prior's ``up``), and
the logarithms of its size (3): the *state*, (7,), in that order. Each residual is divided by its standard deviation:

    four for every picture   between the rectangle of the projected corners and the one that was seen; a side that lies
                             on the picture's border only says that the box reaches it, and may go on outside
    one for the ground       between the centre's height and the one that the prior expects for this size
    one for the yaw, three for the size (whitened, so that sizes may grow together more easily than apart)

The sum of their squares is the *cost*: minus twice the logarithm of the probability, but for a constant. It is brought
down by Levenberg and Marquardt's method, from the best of a few sizes at which the box could stand on the ground.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.compiled import compiled
from index.schema import Array

CENTER, YAW, LOG_SIZE = slice(0, 3), 3, slice(4, 7)  # of a state

_UNKNOWNS = 7
_NEAREST = 1e-3  # metres: nothing nearer to the camera has a picture
_SMALLEST = 1e-6  # of a box's shortest side, as a share of its distance: below, rounding moves its corners
_STEPS = 30  # six are usual
_TRIES = 8  # of the damping, in a step
_ENOUGH = 1e-6  # relative gain in cost below which a step was the last one
_SCALES = np.exp(np.linspace(-1.2, 1.2, 9))  # of the prior's size, at which a box is tried first


class Sights(NamedTuple):
    """What v pictures show of one object."""

    cameras: Array  # (v, 4): fx, fy, cx, cy, pixels
    camera_from_world: Array  # (v, 3, 4)
    rects: Array  # (v, 4) pixels
    open_sides: NDArray[np.bool_]  # (v, 4): on the picture's border, so that the object may go on
    precisions: Array  # (v,): 1 / standard deviation of a side, 1 / pixels


class Ground(NamedTuple):
    """What the object stands on, in the world: ``normal . x + offset = 0``."""

    normal: Array  # (3,)
    offset: float
    relative: float  # standard deviation of the height, as a share of the distance; infinite: there is no ground


class Prior(NamedTuple):
    """What is expected of the box. Arrays of several priors have one more dimension in front."""

    rotation: Array  # (3, 3): world_from_box at yaw 0
    up: Array  # (3,): the axis of the yaw
    height: Array  # (): of the centre above the ground, in heights of the box
    log_size: Array  # (3,)
    size_precision: Array  # (3, 3): a square root of the inverse covariance of log_size
    yaw_precision: Array  # (): 1 / radians


class Solutions(NamedTuple):
    """The most probable box for each of n priors."""

    states: Array  # (n, 7)
    costs: Array  # (n,); infinite where no box is in front of the cameras
    corners: Array  # (n, 8, 3) in the world
    rotations: Array  # (n, 3, 3): world_from_box
    information: Array  # (n, 7, 7): the inverse of the state's covariance
    off_ground: Array  # (n,): how far from the ground it ended, in standard deviations


class _Scratch(NamedTuple):
    """Memory for one evaluation."""

    residuals: Array
    jacobian: Array
    corners: Array
    rotation: Array
    halves: Array  # (3,) metres, of the size


@compiled
def _scratch(rows: int) -> _Scratch:
    return _Scratch(np.zeros(rows), np.zeros((rows, _UNKNOWNS)), np.zeros((8, 3)), np.zeros((3, 3)), np.zeros(3))


@compiled
def solve(priors: Prior, sights: Sights, ground: Ground) -> Solutions:
    """The most probable box for each prior by itself, all with the same sights and ground."""
    n = len(priors.log_size)
    rows = 4 * len(sights.rects) + 5
    out = Solutions(
        np.zeros((n, _UNKNOWNS)),
        np.full(n, np.inf),
        np.zeros((n, 8, 3)),
        np.zeros((n, 3, 3)),
        np.zeros((n, _UNKNOWNS, _UNKNOWNS)),
        np.zeros(n),
    )
    spare, other = _scratch(rows), _scratch(rows)
    for i in range(n):
        prior = Prior(
            priors.rotation[i],
            priors.up[i],
            priors.height[i],
            priors.log_size[i],
            priors.size_precision[i],
            priors.yaw_precision[i],
        )
        state, firmness = _start(prior, sights, ground, spare)
        cost, now = _descend(state, prior, sights, ground, firmness, spare, other)
        out.costs[i] = cost if _is_solid(state) else np.inf
        out.states[i], out.corners[i], out.rotations[i] = state, now.corners, now.rotation
        out.information[i] = now.jacobian.T @ now.jacobian
        out.off_ground[i] = now.residuals[rows - 5]
    return out


@compiled
def _is_solid(state: Array) -> bool:
    """Whether the box is large enough for its corners to differ."""
    reach = max(abs(state[0]), abs(state[1]), abs(state[2]))
    solid: bool = math.exp(min(state[4], state[5], state[6])) > _SMALLEST * reach
    return solid


@compiled
def _start(prior: Prior, sights: Sights, ground: Ground, scratch: _Scratch) -> tuple[Array, float]:
    """The likeliest of some first guesses, in the middle of the first rectangle, and 1 / the ground's deviation."""
    ray, eye = _ray(sights)
    guess, best = np.zeros(_UNKNOWNS), np.zeros(_UNKNOWNS)
    lowest, firmness = np.inf, 0.0
    for standing in (True, False):
        for scale in _SCALES:
            distance = _distance(scale, standing, prior, sights, ground, ray, eye)
            if not (0 < distance < np.inf):
                continue
            for k in range(3):
                guess[k] = eye[k] + distance * ray[k]
                guess[4 + k] = prior.log_size[k] + math.log(scale)
            firm = 1 / (ground.relative * distance)
            cost = _evaluate(guess, prior, sights, ground, firm, scratch, False)
            if cost < lowest:
                lowest, firmness = cost, firm
                best[:] = guess
    return best, firmness


@compiled
def _ray(sights: Sights) -> tuple[Array, Array]:
    """The unit viewing ray of the first rectangle's middle and where it begins, (3,) each, in the world."""
    camera, t, rect = sights.cameras[0], sights.camera_from_world[0], sights.rects[0]
    in_camera = np.empty(3)
    in_camera[0] = ((rect[0] + rect[2]) / 2 - camera[2]) / camera[0]
    in_camera[1] = ((rect[1] + rect[3]) / 2 - camera[3]) / camera[1]
    in_camera[2] = 1.0
    length = math.sqrt(in_camera[0] ** 2 + in_camera[1] ** 2 + 1.0)
    ray, eye = np.zeros(3), np.zeros(3)
    for k in range(3):
        for j in range(3):
            ray[k] += t[j, k] * in_camera[j] / length
            eye[k] -= t[j, k] * t[j, 3]
    return ray, eye


@compiled
def _distance(
    scale: float, standing: bool, prior: Prior, sights: Sights, ground: Ground, ray: Array, eye: Array
) -> float:
    """From the camera to a box of this scale: where it stands on the ground, or where it looks as large as seen."""
    if standing:
        height = prior.height * scale * math.exp(prior.log_size[1])
        above = ground.normal[0] * eye[0] + ground.normal[1] * eye[1] + ground.normal[2] * eye[2] + ground.offset
        down = ground.normal[0] * ray[0] + ground.normal[1] * ray[1] + ground.normal[2] * ray[2]
        return (height - above) / down if down != 0 else np.inf
    diagonal = 0.0
    for k in range(3):
        diagonal += (scale * math.exp(prior.log_size[k])) ** 2
    rect, camera = sights.rects[0], sights.cameras[0]
    seen = math.hypot((rect[2] - rect[0]) / camera[0], (rect[3] - rect[1]) / camera[1])
    return 0.8 * math.sqrt(diagonal) / seen  # a box's picture is a little smaller than its diagonal


@compiled
def _descend(
    state: Array,
    prior: Prior,
    sights: Sights,
    ground: Ground,
    firmness: float,
    now: _Scratch,
    tried: _Scratch,
) -> tuple[float, _Scratch]:
    """Moves ``state`` to the least cost nearby; returns that, and of the two scratches the one that belongs to it."""
    cost = _evaluate(state, prior, sights, ground, firmness, now, True)
    normal, gradient = np.empty((_UNKNOWNS, _UNKNOWNS)), np.empty(_UNKNOWNS)
    factor, moved = np.empty((_UNKNOWNS, _UNKNOWNS)), np.empty(_UNKNOWNS)
    damping = 1e-3
    for _ in range(_STEPS):
        if not cost < np.inf:
            break
        _normal_equations(now, normal, gradient)
        gained = 0.0
        for _ in range(_TRIES):
            if _step(normal, gradient, damping, factor, moved):
                for k in range(_UNKNOWNS):
                    moved[k] += state[k]
                reached = _evaluate(moved, prior, sights, ground, firmness, tried, True)
                if reached < cost:
                    gained, cost = cost - reached, reached
                    state[:] = moved
                    now, tried = tried, now
                    damping = max(damping / 8, 1e-9)
                    break
            damping *= 4
        if gained <= _ENOUGH * (1 + cost):
            break
    return cost, now


@compiled
def _normal_equations(scratch: _Scratch, normal: Array, gradient: Array) -> None:
    """Fills the lower half of J^T J (7, 7) and J^T r (7,); by hand, because calling BLAS takes longer than this."""
    residuals, jacobian = scratch.residuals, scratch.jacobian
    normal[:] = 0.0
    gradient[:] = 0.0
    for row in range(len(residuals)):
        for i in range(_UNKNOWNS):
            gradient[i] += jacobian[row, i] * residuals[row]
            for j in range(i + 1):
                normal[i, j] += jacobian[row, i] * jacobian[row, j]


@compiled
def _step(normal: Array, gradient: Array, damping: float, factor: Array, out: Array) -> bool:
    """Puts the damped step into ``out`` (Cholesky); False where rounding leaves no positive pivot."""
    for i in range(_UNKNOWNS):
        for j in range(i + 1):
            value = normal[i, j] + (damping * normal[i, i] + 1e-12 if i == j else 0.0)
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = value / factor[j, j]
            elif value > 0:
                factor[i, i] = math.sqrt(value)
            else:
                return False
    for i in range(_UNKNOWNS):
        out[i] = -gradient[i]
        for k in range(i):
            out[i] -= factor[i, k] * out[k]
        out[i] /= factor[i, i]
    for i in range(_UNKNOWNS - 1, -1, -1):
        for k in range(i + 1, _UNKNOWNS):
            out[i] -= factor[k, i] * out[k]
        out[i] /= factor[i, i]
    return True


@compiled
def _evaluate(
    state: Array,
    prior: Prior,
    sights: Sights,
    ground: Ground,
    firmness: float,
    scratch: _Scratch,
    derive: bool,
) -> float:
    """Fills ``scratch`` for this state, the Jacobian only if it is to ``derive``, and returns the cost.

    Infinite where a corner is behind a camera.
    """
    turn(prior.rotation, prior.up, state[3], scratch.rotation)
    _place(state, scratch)
    if derive:
        scratch.jacobian[:] = 0.0
    for picture in range(len(sights.rects)):
        if not _see(picture, state, prior, sights, scratch, derive):
            return np.inf
    row = 4 * len(sights.rects)
    residuals, jacobian = scratch.residuals, scratch.jacobian
    expected = prior.height * 2 * scratch.halves[1]
    residuals[row] = firmness * (ground.offset - expected)
    for k in range(3):
        residuals[row] += firmness * ground.normal[k] * state[k]
    residuals[row + 1] = prior.yaw_precision * state[3]
    for i in range(3):
        residuals[row + 2 + i] = 0.0
        for k in range(3):
            residuals[row + 2 + i] += prior.size_precision[i, k] * (state[4 + k] - prior.log_size[k])
    if derive:
        jacobian[row, :3] = firmness * ground.normal
        jacobian[row, 5] = -firmness * expected
        jacobian[row + 1, 3] = prior.yaw_precision
        jacobian[row + 2 :, 4:] = prior.size_precision
    cost = 0.0
    for i in range(len(residuals)):
        cost += residuals[i] ** 2
    return cost


@compiled
def turn(rotation: Array, up: Array, yaw: float, out: Array) -> None:
    """Puts ``rotation``, turned by ``yaw`` about ``up``, into ``out`` (Rodrigues)."""
    c, s = math.cos(yaw), math.sin(yaw)
    for j in range(3):
        x, y, z = rotation[0, j], rotation[1, j], rotation[2, j]
        along = (up[0] * x + up[1] * y + up[2] * z) * (1 - c)
        out[0, j] = x * c + (up[1] * z - up[2] * y) * s + up[0] * along
        out[1, j] = y * c + (up[2] * x - up[0] * z) * s + up[1] * along
        out[2, j] = z * c + (up[0] * y - up[1] * x) * s + up[2] * along


@compiled
def _place(state: Array, scratch: _Scratch) -> None:
    """The size's halves and the corners, in the order of ``index.schema``."""
    for axis in range(3):
        scratch.halves[axis] = 0.5 * math.exp(state[4 + axis])
    for corner in range(8):
        for k in range(3):
            scratch.corners[corner, k] = state[k]
            for axis in range(3):
                half = scratch.halves[axis] if corner & (4 >> axis) else -scratch.halves[axis]
                scratch.corners[corner, k] += scratch.rotation[k, axis] * half


@compiled
def _see(picture: int, state: Array, prior: Prior, sights: Sights, scratch: _Scratch, derive: bool) -> bool:
    """Residuals and derivatives of one picture's rectangle; False where a corner is behind the camera."""
    camera, t = sights.cameras[picture], sights.camera_from_world[picture]
    sides = (np.inf, np.inf, -np.inf, -np.inf)
    outmost = (0, 0, 0, 0)
    for corner in range(8):
        x, y, z = _in_camera(t, scratch.corners[corner])
        if z < _NEAREST:
            return False
        u, v = camera[0] * x / z + camera[2], camera[1] * y / z + camera[3]
        left, top, right, bottom = u < sides[0], v < sides[1], u > sides[2], v > sides[3]
        sides = (u if left else sides[0], v if top else sides[1], u if right else sides[2], v if bottom else sides[3])
        outmost = (
            corner if left else outmost[0],
            corner if top else outmost[1],
            corner if right else outmost[2],
            corner if bottom else outmost[3],
        )
    for side in range(4):
        row = 4 * picture + side
        excess = sides[side] - sights.rects[picture, side]
        beyond = excess < 0 if side < 2 else excess > 0
        if sights.open_sides[picture, side] and beyond:
            scratch.residuals[row] = 0.0
            continue
        scratch.residuals[row] = excess * sights.precisions[picture]
        if derive:
            _differentiate(row, outmost[side], side % 2, sights.precisions[picture], camera, t, state, prior, scratch)
    return True


@compiled
def _in_camera(t: Array, point: Array) -> tuple[float, float, float]:
    return (
        t[0, 0] * point[0] + t[0, 1] * point[1] + t[0, 2] * point[2] + t[0, 3],
        t[1, 0] * point[0] + t[1, 1] * point[1] + t[1, 2] * point[2] + t[1, 3],
        t[2, 0] * point[0] + t[2, 1] * point[1] + t[2, 2] * point[2] + t[2, 3],
    )


@compiled
def _differentiate(
    row: int,
    corner: int,
    axis: int,
    precision: float,
    camera: Array,
    t: Array,
    state: Array,
    prior: Prior,
    scratch: _Scratch,
) -> None:
    """The derivatives of one corner's pixel coordinate ``axis`` by the state."""
    point, u = scratch.corners[corner], prior.up
    x, y, z = _in_camera(t, point)
    across = precision * camera[axis] / z
    away = -across * (x if axis == 0 else y) / z
    g0, g1 = across * t[axis, 0] + away * t[2, 0], across * t[axis, 1] + away * t[2, 1]
    g2 = across * t[axis, 2] + away * t[2, 2]
    a0, a1, a2 = point[0] - state[0], point[1] - state[1], point[2] - state[2]
    j = scratch.jacobian[row]
    j[0], j[1], j[2] = g0, g1, g2
    j[3] = g0 * (u[1] * a2 - u[2] * a1) + g1 * (u[2] * a0 - u[0] * a2) + g2 * (u[0] * a1 - u[1] * a0)
    for k in range(3):
        half = scratch.halves[k]
        towards = g0 * scratch.rotation[0, k] + g1 * scratch.rotation[1, k] + g2 * scratch.rotation[2, k]
        j[4 + k] = towards * (half if corner & (4 >> k) else -half)
