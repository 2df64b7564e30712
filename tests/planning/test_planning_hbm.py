"""HBM traffic, counted from the text of compiled programs."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from xception_jax.planning.hbm import hbm_bytes
from xception_jax.planning.hlo import read_program

ROWS = jax.ShapeDtypeStruct((100, 30), jnp.float32)
SQUARE = jax.ShapeDtypeStruct((30, 30), jnp.float32)
IMAGES = jax.ShapeDtypeStruct((4, 9, 9, 8), jnp.bfloat16)
KERNEL = jax.ShapeDtypeStruct((3, 3, 8, 16), jnp.bfloat16)
INDEX = jax.ShapeDtypeStruct((), jnp.int32)
PROGRAMS: dict[str, tuple[Any, ...]] = {
    "elementwise": (lambda x, y: jnp.tanh(x) * y + 1, ROWS, ROWS),
    "product": (lambda x, y: jnp.tanh(x @ y), ROWS, SQUARE),
    "reduction": (lambda x: jnp.sum(x * x, axis=0), ROWS),
    "slice": (lambda x: jnp.tanh(x[3:9]), ROWS),
    "slice at": (lambda x, i: jnp.tanh(lax.dynamic_slice_in_dim(x, i, 4)), ROWS, INDEX),
    "update": (
        lambda x, y, i: lax.dynamic_update_slice_in_dim(x, y[:4] * 2, i, 0),
        ROWS,
        ROWS,
        INDEX,
    ),
    "loop": (lambda x: lax.fori_loop(0, 7, lambda _, y: jnp.tanh(y @ x), x), SQUARE),
    "branches": (lambda i, x: lax.cond(i > 0, lambda y: y @ y, jnp.sin, x), INDEX, SQUARE),
    "convolution": (
        lambda x, w: lax.conv_general_dilated(
            x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        IMAGES,
        KERNEL,
    ),
}

# As libtpu 0.0.42 compiles `relu(x @ w) @ v` for v5e: x is copied to the chip ahead of its use.
PREFETCHED = """
%fused_computation.1 (param_0: bf16[512,512], param_1: bf16[8192,512]) -> bf16[8192,512] {
  %param_0 = bf16[512,512]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[8192,512]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %convolution.4 = bf16[8192,512]{1,0:T(8,128)(2,1)} convolution(%param_1, %param_0), \
dim_labels=bf_io->bf
}

ENTRY %main.3 (x.1: bf16[8192,512], w.1: bf16[512,512]) -> bf16[8192,512] {
  %x.1 = bf16[8192,512]{1,0:T(8,128)(2,1)} parameter(0), sharding={replicated}, \
metadata={op_name="x"}
  %copy-start = (bf16[8192,512]{1,0:T(8,128)(2,1)S(1)}, bf16[8192,512]{1,0:T(8,128)(2,1)}, \
u32[]{:S(2)}) copy-start(%x.1), cross_program_prefetch_index=0
  %w.1 = bf16[512,512]{1,0:T(8,128)(2,1)} parameter(1)
  %copy-done = bf16[8192,512]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  ROOT %fusion = bf16[8192,512]{1,0:T(8,128)(2,1)} fusion(%w.1, %copy-done), kind=kOutput, \
calls=%fused_computation.1
}
"""
# Two slices are fetched, which together are what is used, and its double is written back.
IN_SLICES = """
ENTRY %main (x: f32[8,128]) -> f32[8,128] {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0)
  %slice-start.0 = ((f32[8,128]{1,0:T(8,128)}), f32[6,128]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) \
slice-start(%x), slice={[0:6], [0:128]}
  %slice-start.1 = ((f32[8,128]{1,0:T(8,128)}), f32[2,128]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) \
slice-start(%x), slice={[6:8], [0:128]}
  %slice-done.0 = f32[6,128]{1,0:T(8,128)S(1)} slice-done(%slice-start.0)
  %slice-done.1 = f32[2,128]{1,0:T(8,128)S(1)} slice-done(%slice-start.1)
  %whole = f32[8,128]{1,0:T(8,128)S(1)} custom-call(%slice-done.0, %slice-done.1), \
custom_call_target="ConcatBitcast"
  %twice = f32[8,128]{1,0:T(8,128)S(1)} add(%whole, %whole)
  %copy-start = (f32[8,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) \
copy-start(%twice)
  ROOT %copy-done = f32[8,128]{1,0:T(8,128)} copy-done(%copy-start)
}
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_where_nothing_lies_on_the_chip_it_is_what_the_compiler_counts(name):
    """Within the few bytes of the constants and counters of a loop."""
    function, *shapes = PROGRAMS[name]
    compiled = jax.jit(function).lower(*shapes).compile()
    counted = compiled.cost_analysis()
    assert counted is not None
    assert hbm_bytes(compiled.as_text() or "") == pytest.approx(counted["bytes accessed"], abs=64)


def test_rows_that_are_gathered_count_and_not_all_of_the_data():
    """The compiler counts all of an array of which a fusion gathers a few rows."""
    rows = jax.ShapeDtypeStruct((5,), jnp.int32)
    compiled = jax.jit(lambda x, i: x[i] * 2).lower(ROWS, rows).compile()
    gathered = 5 * 30 * 4
    assert hbm_bytes(compiled.as_text() or "") == pytest.approx(2 * gathered + 5 * 4, abs=64)


def test_what_stays_on_the_chip_does_not_count():
    """Here the compiler counts 51 MB for a program of this kind, the moves on the chip thrice."""
    image, weights = 8192 * 512 * 2, 512 * 512 * 2
    assert hbm_bytes(PREFETCHED) == image + weights + image


def test_slices_that_are_fetched_count_once_and_results_when_they_come_back():
    assert hbm_bytes(IN_SLICES) == 8 * 128 * 4 + 8 * 128 * 4


def test_a_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        read_program("HloModule empty")


def test_text_that_is_not_whole_is_refused():
    """Such text comes from another version of a compiler, or from a file that was cut."""
    lines = PREFETCHED.splitlines()
    for number in range(len(lines)):
        with pytest.raises(ValueError, match=r"ENTRY|not whole"):
            hbm_bytes("\n".join(lines[:number]))
    with pytest.raises(ValueError, match="not whole"):
        hbm_bytes("ENTRY %a (x: f32[]) -> f32[] {\n  ROOT %b = f32[] call(%x), to_apply=%a\n}")
    with pytest.raises(ValueError, match="not whole"):
        hbm_bytes("ENTRY %a (x: f32[]) -> f32[] {\n  ROOT %b = f32[] tanh(%x)\n}")


def test_text_that_lacks_a_line_raises_nothing_else():
    """Without some of its lines it is still a program, of which another sum is counted."""
    lines = PREFETCHED.splitlines()
    for number in range(len(lines)):
        with contextlib.suppress(ValueError):
            hbm_bytes("\n".join(lines[:number] + lines[number + 1 :]))
