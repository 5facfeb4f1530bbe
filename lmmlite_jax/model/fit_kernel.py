"""A kernel learned from many traits at once: the parameters whose kinship explains them best."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from lmmlite_jax.model.inputs import ArrayOrFrame, all_finite
from lmmlite_jax.model.kernel_inputs import KernelTraits, box_of, check_start, traits_of
from lmmlite_jax.model.kernel_result import KernelFit, Verdict, broken, judge, names_of, unjudged
from lmmlite_jax.model.precision import AnyArray, Scalar, in_float64
from lmmlite_jax.model.profile_log_likelihood import profiles
from lmmlite_jax.model.traits import fit_traits

__all__ = ["fit_kernel"]

Kernel = Callable[[Any], Array]
Callback = Callable[[int, float, Any], bool | None]

AT_BOUND = 1e-12
"""Distance from a bound, relative to it and 1, at which a parameter is there."""

LBFGS = optax.lbfgs()
"""One for all calls: programs are compiled for each optimiser anew."""


class _Known:
    """Traits with missing values, whose patterns a program is compiled for: they stay outside."""

    def __init__(self, traits: KernelTraits) -> None:
        self.traits = traits


class _Options(NamedTuple):
    """What a program is compiled for."""

    kernel: Kernel
    optimizer: optax.GradientTransformation
    reml: bool
    minibatch: int | None
    known: _Known | None


class _Search(NamedTuple):
    """Where the steps have come to; a ``fresh`` optimiser has forgotten what it learned."""

    parameters: Any
    memory: Any
    key: Array
    step: Int[Array, ""]
    trace: Float[Array, " steps"]
    fresh: Bool[Array, ""]
    done: Bool[Array, ""]


@in_float64
def fit_kernel(
    kernel: Kernel,
    parameters: Any,
    Y: ArrayOrFrame,
    X: ArrayOrFrame | None = None,
    *,
    optimizer: optax.GradientTransformation = LBFGS,
    bounds: tuple[Any, Any] | None = None,
    steps: int = 200,
    tol: float = 1e-6,
    reml: bool = True,
    minibatch: int | None = None,
    seed: int = 0,
    standard_errors: bool = True,
    callback: Callback | None = None,
    progress: bool = False,
) -> KernelFit:
    """Learn a kernel's parameters: maximise the profiled log likelihood, summed over the traits.

    Every trait has its own β, σ² and ĥ² for every kinship on the way (`profile_log_likelihood`).

    Parameters
    ----------
    kernel : function
        From ``parameters`` to a kinship (n, n), differentiable by JAX. Its scale does not matter:
        h² makes up for it.
    parameters : pytree of numbers and arrays
        Where to start.
    Y : (n,) or (n, m) array or data frame
        Phenotypes; NaN where missing. Every pattern of missing values takes a decomposition a step.
    X : (n, p) array or data frame, optional
        Covariates, with the intercept among them; an intercept alone where left out.
    optimizer : optax.GradientTransformation
        Any optimiser of optax, which minimises the negative log likelihood; L-BFGS by default.
    bounds : (lower, upper), optional
        Pytrees like ``parameters``, or numbers for all of them, between which parameters stay.
    steps : int
        Most steps.
    tol : float
        The search ends when two steps in a row promise to raise the log likelihood by less than
        this; the second of them is taken with the optimiser's memory cleared.
    reml : bool
        Restricted likelihood (default) or full likelihood.
    minibatch : int, optional
        Traits drawn for each step, for stochastic optimisers; all ``steps`` are taken then.
    seed : int
        Of the draws.
    standard_errors : bool
        Whether to give standard errors, which cost about two gradients for every number in
        ``parameters``: too many for networks.
    callback : function, optional
        Called after every step with its number, the log likelihood before it and the parameters
        after it; the search ends where it returns True.
    progress : bool
        Whether to keep a line on standard error up to date.

    Returns
    -------
    KernelFit

    Raises
    ------
    ValueError
        If Y, X, the bounds or what the kernel returns cannot be used.

    Notes
    -----
    One compiled loop; gradients with respect to a component that a bound holds are zero, and steps
    are projected (`optax.projections`). A likelihood may have several maxima: start from several
    places.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import lmmlite_jax as lmm
    >>> rng = np.random.default_rng(1)
    >>> distance = np.abs(np.subtract.outer(*[np.linspace(0, 10, 60)] * 2))
    >>> def near(parameters):
    ...     return jnp.exp(-0.5 * (distance / parameters["length"]) ** 2)
    >>> root = np.linalg.cholesky(np.eye(60) + near({"length": 1.5}))
    >>> Y = root @ rng.standard_normal((60, 30))
    >>> fit = lmm.fit_kernel(near, {"length": 0.5}, Y, bounds=(0.1, 10))
    >>> print(f"{fit.parameters['length']:.2f} ± {fit.standard_errors['length']:.2f}")
    1.36 ± 0.12
    """
    traits = traits_of(Y, X)
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), parameters)
    box = box_of(start, bounds)
    check_start(kernel, start, traits, box, minibatch, steps)
    complete = all_finite(np.asarray(traits.Y))
    if minibatch is not None and not complete:
        raise ValueError("minibatch takes complete traits alone: leave it out, or impute Y.")
    options = _Options(kernel, optimizer, reml, minibatch, None)
    wrong = _wrong(options, start)
    if wrong is None:
        traits = _which_are_fitted(options, start, traits)
    options = options._replace(known=None if complete else _Known(traits))
    given = traits if complete else None
    search = _Search(
        start,
        optimizer.init(start),
        jax.random.key(seed),
        jnp.zeros((), int),
        jnp.full(steps, jnp.nan),
        jnp.zeros((), bool),
        jnp.zeros((), bool),
    )
    watched = callback is not None or progress
    while wrong is None and int(search.step) < steps and not bool(search.done):
        until = int(search.step) + 1 if watched else steps
        search = _advance(options, search, given, box, jnp.asarray(tol), jnp.asarray(until))
        if _tell(search, callback, progress):
            break
    if progress:
        print(file=sys.stderr)
    return _result(options, search, given, box, traits, standard_errors)


def _which_are_fitted(options: _Options, start: Any, traits: KernelTraits) -> KernelTraits:
    """The traits that have a likelihood are those that have one where the search starts."""
    K = np.asarray(options.kernel(start))
    fit = fit_traits((K + K.T) / 2, traits.Y, traits.X, reml=options.reml)
    fitted = np.isfinite(np.asarray(fit.loglik))
    if not fitted.any():
        raise ValueError(f"no trait of Y has a likelihood to learn from: {fit.reasons[0]}.")
    return traits._replace(fitted=fitted)


def _wrong(options: _Options, parameters: Any) -> Verdict | None:
    K = np.asarray(options.kernel(parameters))
    return broken(K, names_of(parameters), np.asarray(ravel_pytree(parameters)[0]))


def _data(options: _Options, traits: KernelTraits | None) -> KernelTraits:
    """Traits, which are given where they are complete."""
    given = traits if options.known is None else options.known.traits
    assert given is not None
    return given


def _loss(
    options: _Options, traits: KernelTraits | None, chosen: Array | None, parameters: Any
) -> Float[Array, ""]:
    """Negative log likelihood of all traits, or of the chosen ones in proportion."""
    Y, X, fitted = _data(options, traits)
    scale = 1.0
    if chosen is not None:
        scale = Y.shape[1] / chosen.size
        Y, fitted = jnp.asarray(Y)[:, chosen], jnp.asarray(fitted)[chosen]
    loglik = profiles(options.reml, jnp.asarray(options.kernel(parameters)), Y, X)
    # Whatever has no likelihood here and had one before is no place to go to.
    return -scale * jnp.sum(jnp.where(fitted, loglik, 0.0))


@partial(jax.jit, static_argnums=0)
def _advance(
    options: _Options,
    search: _Search,
    traits: KernelTraits | None,
    box: tuple[Any, Any],
    tol: Float[Array, ""],
    until: Int[Array, ""],
) -> _Search:
    """Take steps until one is the last, or their number is reached."""
    optimizer = optax.with_extra_args_support(options.optimizer)

    def project(parameters: Any) -> Any:
        return optax.projections.projection_box(parameters, *box)

    def advance(search: _Search) -> _Search:
        key, draw = jax.random.split(search.key)
        chosen = None
        if options.minibatch is not None:
            m = _data(options, traits).fitted.size
            chosen = jax.random.choice(draw, m, (options.minibatch,), replace=False)
        loss = partial(_loss, options, traits, chosen)
        value, gradient = jax.value_and_grad(loss)(search.parameters)
        gradient = _inwards(search.parameters, gradient, box)
        updates, memory = optimizer.update(
            gradient,
            search.memory,
            search.parameters,
            value=value,
            grad=gradient,
            value_fn=lambda parameters: loss(project(parameters)),
        )
        moved = project(optax.apply_updates(search.parameters, updates))
        moved = jax.tree.map(_snapped, moved, *box)
        promise = -optax.tree.vdot(gradient, optax.tree.sub(moved, search.parameters))
        # What a bound has taught the optimiser may mislead it: it says so a second time, afresh.
        little = (jnp.abs(promise) <= tol) & (options.minibatch is None)
        memory = _where(little, optimizer.init(moved), memory)
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(ravel_pytree(moved)[0]))
        kept = _where(finite, moved, search.parameters)
        trace = search.trace.at[search.step].set(-value)
        done = (little & search.fresh) | ~finite
        return _Search(kept, memory, key, search.step + 1, trace, little, done)

    return lax.while_loop(lambda s: ~s.done & (s.step < until), advance, search)


def _where(chosen: Bool[Array, ""], these: Any, others: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.where(chosen, one, other), these, others)


def _snapped(at: Array, low: Array, high: Array) -> Array:
    """At a bound what is so close to it that no likelihood could tell."""
    for bound in (low, high):
        near = jnp.abs(at - bound) <= AT_BOUND * (1 + jnp.abs(bound))
        at = jnp.where(near & jnp.isfinite(bound), bound, at)
    return at


def _inwards(parameters: Any, gradient: Any, box: tuple[Any, Any]) -> Any:
    """Gradient of the loss, zero where a step against it would leave the box."""

    def of_leaf(at: Array, slope: Array, low: Array, high: Array) -> Array:
        held = ((at <= low) & (slope > 0)) | ((at >= high) & (slope < 0))
        return jnp.where(held, 0.0, slope)

    return jax.tree.map(of_leaf, parameters, gradient, *box)


def _tell(search: _Search, callback: Callback | None, progress: bool) -> bool:
    """Report the last step; whether the callback ends the search."""
    step = int(search.step)
    loglik = float(search.trace[step - 1])
    if progress:
        print(f"\rstep {step}  log likelihood {loglik:.6g}   ", end="", file=sys.stderr, flush=True)
    return callback is not None and bool(callback(step, loglik, search.parameters))


@partial(jax.jit, static_argnums=0)
def _curvature(
    options: _Options, parameters: Any, traits: KernelTraits | None
) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """Gradient of the log likelihood of all traits, and their observed information."""
    flat, unravel = ravel_pytree(parameters)
    slope = jax.grad(lambda flat: _loss(options, traits, None, unravel(flat)))
    gradient, along = jax.linearize(slope, flat)
    information = lax.map(along, jnp.eye(flat.size))
    return -gradient, (information + information.T) / 2


def _result(
    options: _Options,
    search: _Search,
    given: KernelTraits | None,
    box: tuple[Any, Any],
    traits: KernelTraits,
    standard_errors: bool,
) -> KernelFit:
    parameters, steps = search.parameters, int(search.step)
    K = np.asarray(options.kernel(parameters))
    names, m = names_of(parameters), traits.Y.shape[1]
    flat, unravel = ravel_pytree(parameters)
    verdict = _wrong(options, parameters)
    hsq: AnyArray = np.full(m, np.nan)
    loglik: Scalar = np.nan
    if verdict is None:
        fit = fit_traits((K + K.T) / 2, traits.Y, traits.X, reml=options.reml)
        hsq, loglik = fit.hsq, np.nansum(fit.loglik)
        verdict = unjudged(bool(search.done), steps)
        if standard_errors:
            gradient, information = map(np.asarray, _curvature(options, parameters, given))
            low, high = (np.asarray(ravel_pytree(tree)[0]) for tree in box)
            at, fixed, arrived = np.asarray(flat), low == high, bool(search.done)
            held = ((at <= low) & (gradient < 0)) | ((at >= high) & (gradient > 0)) | fixed
            verdict = judge(names, at, gradient, information, held, fixed, arrived)
    known = standard_errors and verdict.errors.size > 0
    return KernelFit(
        parameters,
        unravel(jnp.asarray(verdict.errors)) if known else None,
        jnp.asarray(verdict.covariance) if known else None,
        jnp.asarray(K),
        jnp.asarray(loglik),
        jnp.asarray(hsq),
        search.trace[:steps],
        jnp.asarray(verdict.distance),
        int(verdict.status),
        verdict.reason,
    )
