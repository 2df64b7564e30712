"""Convolutions with gradients of their own, which JAX can differentiate once more."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

Numbers = Float[Array, "..."]
Gradients = tuple[Numbers, Numbers]


def gradients_of(
    convolve: Callable[..., Numbers], x: Numbers, kernel: Numbers, gradient: Numbers, *settings: Any
) -> Gradients:
    """Returns JAX's gradients of `convolve(x, kernel, *settings)` for that of its result."""
    pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, *settings), x, kernel)[1]
    gradients: Gradients = pull_back(gradient)
    return gradients


def with_gradients(
    convolve: Callable[..., Numbers],
    gradients: Callable[..., Gradients],
    formula: Callable[..., Numbers],
) -> Callable[..., Numbers]:
    """Returns `convolve` with the given gradients.

    Args:
        convolve: a function of x, kernel and static settings.
        gradients: a function of x, kernel, the gradient of the result and the settings; returns the
            gradients of x and kernel.
        formula: computes what `convolve` does, by operations that JAX can differentiate twice.
            Derivatives of `gradients` come from it, since they need not be fast.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(2,))
    def differentiable(x: Numbers, kernel: Numbers, settings: Any) -> Numbers:
        return convolve(x, kernel, settings)

    @partial(jax.custom_vjp, nondiff_argnums=(3,))
    def backward(x: Numbers, kernel: Numbers, gradient: Numbers, settings: Any) -> Gradients:
        return gradients(x, kernel, gradient, settings)

    def differentiate_backward(
        settings: Any, saved: tuple[Numbers, ...], second: Gradients
    ) -> tuple[Numbers, ...]:
        def first(x: Numbers, kernel: Numbers, gradient: Numbers) -> Gradients:
            return gradients_of(formula, x, kernel, gradient, settings)

        derivatives: tuple[Numbers, ...] = jax.vjp(first, *saved)[1](second)
        return derivatives

    differentiable.defvjp(
        lambda x, kernel, settings: (differentiable(x, kernel, settings), (x, kernel)),
        lambda settings, saved, gradient: backward(*saved, gradient, settings),
    )
    backward.defvjp(
        lambda *arguments: (backward(*arguments), arguments[:3]),
        differentiate_backward,
    )
    return differentiable
