"""L2-logistic students for whole grids at once; the conventions are those of `_paths.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from pitskd.linear._arrays import Space, batches

__all__: list[str] = []

_EPS = float(np.finfo(np.float64).eps)
_PRODUCT_BYTES = 64 * 2**20  # what the rows' outer products may take, which only save time
_SHARED_STEPS = 10  # steps from one factorisation; each costs about a tenth of it
_CONTRACTION = 0.2  # of a step by the next, above which a factorisation is out of date


def logistic_path(
    X: np.ndarray,
    targets: np.ndarray,
    penalties: np.ndarray,
    sample_weight: np.ndarray,
    *,
    offset: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    tol: float = 1e-8,
    max_iter: int = 200,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit L2-logistic models of every target at every penalty by Newton steps taken for all targets together.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    targets : ndarray of shape (n_targets, n, n_classes)
        Probabilities of the classes, rows summing to 1.
    penalties : ndarray of shape (n_penalties,)
        Above 0.
    sample_weight : ndarray of shape (n_targets, n)
        Rows of weight 0 are held out of that target's models.
    offset : ndarray of shape (n,), (n_targets, n) or (n_targets, n, n_logits), optional
        Added to the logits: the coefficients are then shrunk towards the offset's own.
    scale : ndarray of shape (d,) or (n_targets, d), optional
        What `X` is divided by before its coefficients are penalised, e.g. the standard deviations of the target's own
        training rows; 0 counts as 1. Without it, features are expected on one scale.
    tol : float, default=1e-8
        Stop when a step changes no coefficient by more than this share of the largest.
    max_iter : int, default=200
        Factorisations per penalty at most.
    device : str, optional
        "cpu" or "cuda" asks for torch.

    Returns
    -------
    coef : ndarray of shape (n_targets, n_penalties, n_logits, d)
        For features as given. One logit for two classes, as scikit-learn has it, else one per class with centred
        intercepts.
    intercept : ndarray of shape (n_targets, n_penalties, n_logits)

    Notes
    -----
    Penalties are visited from strong to weak, each started from the line through the last two optima. With more
    features than rows the path is solved in the span of the scaled rows, to which the optimum belongs.
    """
    space = Space(device)
    n_targets, (n, d) = len(targets), X.shape
    scales = np.broadcast_to(np.ones(d) if scale is None else np.where(scale == 0, 1.0, scale), (n_targets, d))
    centre = X.mean(axis=0)
    n_logits = 1 if targets.shape[-1] == 2 else targets.shape[-1]
    offset = np.zeros(n) if offset is None else offset
    offsets = np.broadcast_to(offset if offset.ndim == 3 else offset[..., None], (n_targets, n, n_logits))
    coef = np.empty((n_targets, len(penalties), n_logits, d))
    intercept = np.empty(coef.shape[:-1])

    def solve(design: np.ndarray, rows: Any, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        problem = _Logistic.of(space, design, targets[rows], sample_weight[rows], offsets[rows], strength)
        theta = space.numpy(_path(problem, np.asarray(penalties, dtype=np.float64), tol, max_iter))
        return theta[..., :-1], theta[..., -1]

    if d <= n:
        for rows in batches(n_targets, 8 * max((n_logits * (d + 1)) ** 2, n * (d + 1))):
            coef[rows], intercept[rows] = solve(X - centre, rows, scales[rows] ** 2)
    else:
        distinct, member = np.unique(scales, axis=0, return_inverse=True)
        for number, divisor in enumerate(distinct):
            U, s, basis = np.linalg.svd((X - centre) / divisor, full_matrices=False)
            same = np.flatnonzero(member.ravel() == number)
            for part in batches(len(same), 8 * (n_logits * (n + 1)) ** 2):
                rows = same[part]
                inside, intercept[rows] = solve(U * s, rows, np.ones((len(rows), n)))
                coef[rows] = inside @ (basis / divisor)
    return coef, intercept - coef @ centre


def _path(problem: _Logistic, penalties: np.ndarray, tol: float, max_iter: int) -> Any:
    """Return the optima theta (problems, n_penalties, n_logits, d + 1)."""
    order = np.argsort(-penalties, kind="stable")
    visited: list[tuple[float, Any]] = []
    for penalty in penalties[order]:
        at, place = replace(problem, strength=float(penalty) * problem.strength), float(np.log(penalty))
        visited.append((place, _minimised(at, _start(at, place, visited), tol, max_iter).theta))
    return problem.space.xp.stack([visited[p][1] for p in np.argsort(order)], axis=1)


def _start(problem: _Logistic, place: float, visited: list[tuple[float, Any]]) -> _Point:
    """Start from the last optimum, or on the line through the last two where that is better."""
    if not visited:
        return problem.evaluate(problem.origin())
    last, theta = visited[-1]
    point = problem.evaluate(theta + 0.0)  # a copy: points are overwritten
    if len(visited) > 1 and last < visited[-2][0]:
        before, earlier = visited[-2]
        ahead = problem.evaluate(theta + (place - last) / (last - before) * (theta - earlier))
        better = ahead.loss < point.loss
        point.put(better, ahead.take(better))
    return point


class _Point(NamedTuple):
    """Where each problem of a batch stands."""

    theta: Any  # (problems, n_logits, d + 1)
    loss: Any  # (problems,)
    gradient: Any  # as theta
    probability: Any  # (problems, n_logits, n)

    def take(self, rows: Any) -> _Point:
        return _Point(*(part[rows] for part in self))

    def put(self, rows: Any, other: _Point) -> _Point:
        """Overwrite the problems `rows`."""
        for part, new in zip(self, other, strict=True):
            part[rows] = new
        return self


def _minimised(problem: _Logistic, point: _Point, tol: float, max_iter: int) -> _Point:
    """Descend from `point`, which is overwritten, until every problem has settled."""
    xp = problem.space.xp
    active = xp.where(point.loss == point.loss)[0]  # places of all
    for _ in range(max_iter):
        now, settled = _descended(problem.take(active), point.take(active), tol)
        point.put(active, now)
        active = active[~settled]
        if not len(active):
            break
    return point


def _descended(problem: _Logistic, now: _Point, tol: float) -> tuple[_Point, Any]:
    """Take a Newton step and, while they contract, further steps by the same factorisation (Shamanskii's method)."""
    roots = problem.space.inverse_roots(problem.hessian(now))
    step = _solved(roots, now.gradient)
    trial = problem.evaluate(now.theta - step)
    # Where a Newton step cannot lower the loss any more the error is of the root of rounding; the step squares it.
    flat = abs(trial.loss - now.loss) <= 1e-14 * now.loss + 1e-18 * problem.weight.sum(axis=(1, 2))
    now, cut = _backtracked(problem, now, trial, step)
    unit = problem.unit(now.theta)
    size = problem.largest(step * unit)
    settled = ~cut & (size <= tol)
    for _ in range(_SHARED_STEPS - 1):
        if settled.all():
            break
        step, last = _solved(roots, now.gradient), size
        trial = problem.evaluate(now.theta - step)
        kept = ~_overshoots(now, trial, step, 1.0)
        now = trial if kept.all() else now.put(kept, trial.take(kept))
        size = problem.largest(step * unit)
        settled = kept & (size <= tol)
        # Half the batch is worth a shared step; the others are refreshed once it pays no more.
        if 2 * (settled | (kept & (size < _CONTRACTION * last))).sum() < len(settled):
            break
    return now, settled | flat


def _solved(roots: Any, gradient: Any) -> Any:
    flat = gradient.reshape(len(gradient), -1, 1)
    return (roots @ (roots.mT @ flat)).reshape(gradient.shape)


def _overshoots(now: _Point, trial: _Point, step: Any, length: Any) -> Any:
    """Tell where a step fails to lower the loss (Armijo). A convex loss has fallen wherever it is falling still."""
    slope = (now.gradient * step).sum(axis=(1, 2))
    # Rounding of the loss must not stop a step whose promise is smaller than it.
    rises = trial.loss > now.loss - 1e-4 * length * slope + 1e-12 * abs(now.loss)
    return rises & ((trial.gradient * step).sum(axis=(1, 2)) < 0)


def _backtracked(problem: _Logistic, now: _Point, trial: _Point, step: Any) -> tuple[_Point, Any]:
    """Halve the steps of problems that overshoot. Also returns which these were."""
    cut = _overshoots(now, trial, step, 1.0)
    rows, length = problem.space.xp.where(cut)[0], 1.0
    while len(rows) and length > 1e-12:
        length *= 0.5
        part, start, direction = problem.take(rows), now.take(rows), step[rows]
        shorter = part.evaluate(start.theta - length * direction)
        trial.put(rows, shorter)
        rows = rows[_overshoots(start, shorter, direction, length)]
    return trial, cut


@dataclass(frozen=True)
class _Logistic:
    """Penalised cross-entropy of a batch of problems over one design."""

    space: Space
    design: Any  # (n, width), ones last
    products: Any  # (n, width * (width + 1) / 2) of each row's entries, or None for few problems or much memory
    packed: Any  # (width, width) places in `products`
    targets: Any  # (problems, n_logits, n)
    others: Any  # 1 - targets
    weight: Any  # (problems, 1, n)
    offset: Any  # (problems, n_logits, n)
    strength: Any  # (problems, 1, width) penalty of each coefficient; 0 for the intercept

    @classmethod
    def of(
        cls,
        space: Space,
        X: np.ndarray,
        targets: np.ndarray,
        sample_weight: np.ndarray,
        offset: np.ndarray,
        strength: np.ndarray,
    ) -> _Logistic:
        design = np.column_stack([X, np.ones(len(X))])
        width = design.shape[1]
        below, products = np.tril_indices(width), None
        packed = np.zeros((width, width), dtype=np.intp)
        packed[below] = packed.T[below] = np.arange(len(below[0]))
        if len(targets) >= 8 and 8 * len(X) * len(below[0]) <= _PRODUCT_BYTES:
            products = space.array(design[:, below[0]] * design[:, below[1]])
        binary = targets.shape[-1] == 2
        likely = np.swapaxes(targets[..., 1:] if binary else targets, 1, 2)
        others = np.swapaxes(targets[..., :1], 1, 2) if binary else 1.0 - likely
        strength = np.pad(strength, ((0, 0), (0, 1)))
        return cls(
            space,
            space.array(design),
            products,
            packed,
            *(
                space.array(a)
                for a in (likely, others, sample_weight[:, None], offset.swapaxes(1, 2), strength[:, None])
            ),
        )

    def take(self, rows: Any) -> _Logistic:
        names = ("targets", "others", "weight", "offset", "strength")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @property
    def binary(self) -> bool:
        return self.targets.shape[1] == 1

    def origin(self) -> Any:
        return self.targets[..., :1] * 0.0 + self.strength * 0.0

    def largest(self, values: Any) -> Any:
        """Return the largest size among each problem's entries."""
        return self.space.xp.amax(abs(values), axis=(1, 2))

    def unit(self, theta: Any) -> Any:
        """Return what a step is measured in: the largest coefficient, and for the intercept itself or 1."""
        xp, roots = self.space.xp, self.strength**0.5
        reach = self.largest(theta * roots)[:, None, None]
        return xp.where(roots > 0, roots / xp.where(reach > 0, reach, 1.0), 1.0 / (1.0 + abs(theta[..., -1:])))

    def evaluate(self, theta: Any) -> _Point:
        logits = theta @ self.design.mT + self.offset
        losses, residual, probability = (self._binary if self.binary else self._softmax)(logits)
        shrunk = self.strength * theta
        loss = (self.weight * losses).sum(axis=(1, 2)) + 0.5 * (shrunk * theta).sum(axis=(1, 2))
        gradient = (self.weight * residual) @ self.design + shrunk
        if not self.binary:
            # Several intercepts are free up to a common shift: hold their sum at 0, which costs the loss nothing.
            shift = theta[..., -1].sum(axis=1)
            loss = loss + 0.5 * shift**2
            gradient[..., -1] += shift[:, None]
        return _Point(theta, loss, gradient, probability)

    def _binary(self, logits: Any) -> tuple[Any, Any, Any]:
        """Work with the less probable class throughout: nothing cancels where probabilities saturate."""
        xp, positive = self.space.xp, logits >= 0
        odds = xp.exp(-abs(logits))
        rare = odds / (1.0 + odds)
        losses = xp.log1p(odds) + abs(logits) * xp.where(positive, self.others, self.targets)
        return losses, xp.where(positive, self.others - rare, rare - self.targets), rare

    def _softmax(self, logits: Any) -> tuple[Any, Any, Any]:
        xp = self.space.xp
        logits = logits - xp.amax(logits, axis=1)[:, None]
        odds = xp.exp(logits)
        total = odds.sum(axis=1)[:, None]
        probability = odds / total
        return self.targets * (xp.log(total) - logits), probability - self.targets, probability

    def hessian(self, point: _Point) -> Any:
        """Return second derivatives, (problems, n_logits * width, n_logits * width)."""
        xp, p, logits = self.space.xp, point.probability, range(self.targets.shape[1])
        # The blocks of k, m and m, k are one.
        pairs = [(k, m) for k in logits for m in logits[: k + 1]]
        blocks = {(k, m): self._gram(self.weight[:, 0] * p[:, k] * (float(k == m) - p[:, m])) for k, m in pairs}
        strips = [xp.concatenate([blocks[max(k, m), min(k, m)] for m in logits], axis=2) for k in logits]
        hessian = xp.concatenate(strips, axis=1)
        width = self.design.shape[1]
        hessian[:, width - 1 :: width, width - 1 :: width] += 0.0 if self.binary else 1.0  # as in `evaluate`
        # Where every probability has saturated nothing else holds the intercept; no optimum moves by it.
        held = xp.where(self.strength > 0, self.strength, 1e-16 * self.weight.sum(axis=2)[..., None])
        diagonal = np.arange(hessian.shape[1])
        # A relative share keeps rounding from making collinear features indefinite; it only bends steps.
        held = xp.concatenate([held[:, 0] for _ in logits], axis=1)
        hessian[:, diagonal, diagonal] = hessian[:, diagonal, diagonal] * (1 + 8 * len(diagonal) * _EPS) + held
        return hessian

    def _gram(self, curvature: Any) -> Any:
        """Return ``design' diag(curvature) design`` of each problem."""
        if self.products is not None:
            return (curvature @ self.products)[:, self.packed]
        return self.design.mT @ (curvature[..., None] * self.design)
