"""Tests of the C++ kernels: building and finding them, exact repetition, and their numbers."""

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.built_kernels import needs_compiler
from tests.ops.convolution_checks import check_against_float64
from tests.programs import run_program
from xception_jax.ops import batch_norm, depthwise_conv2d, native
from xception_jax.ops.column_sums import native_sums, plain_sums
from xception_jax.ops.native.__main__ import main
from xception_jax.ops.native.building import build

pytestmark = pytest.mark.usefixtures("kernels")

PORTABLE = ["lax", "lax_shift", "shift"]  # depthwise convolutions that need no compiler


@pytest.fixture
def build_here(capsys, tmp_path):
    """Runs `python -m xception_jax.ops.native` in this process: exit code, output and errors."""

    def run(*words: str, **environment: str) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ({"XDG_CACHE_HOME": str(tmp_path)} | environment).items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["native", *words])
            code = main()
        return code, *capsys.readouterr()

    return run


def build_in_a_process(cache: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    """Runs `python -m xception_jax.ops.native` in a process, which takes seconds to start."""
    done = subprocess.run(
        [sys.executable, "-m", "xception_jax.ops.native", *words],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@needs_compiler
def test_results_are_the_same_to_the_bit_on_threads_without_them_and_on_two_devices(kernels_home):
    alone = os.environ["XLA_FLAGS"] + " --xla_cpu_multi_thread_eigen=false"
    settings: tuple[dict[str, str], ...] = {}, {"XLA_FLAGS": alone}, {"JAX_NUM_CPU_DEVICES": "2"}
    home = str(kernels_home)
    runs = [run_program("native_bits", XDG_CACHE_HOME=home, **more) for more in settings]
    assert [done.returncode for done in runs] == [0, 0, 0], [done.stderr for done in runs]
    assert len({done.stdout for done in runs}) == 1


@needs_compiler
@pytest.mark.parametrize("shape", [(2, 3, 5, 6, 17), (2, 8, 20, 30, 33)])
def test_under_vmap_they_give_the_bits_of_separate_calls(shape, rng):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(2, 3, 3, 1, shape[-1])), jnp.float32)
    for kernel, axis in ((kernels, 0), (kernels[0], None)):

        def gradients(x, kernel):
            out, pull = jax.vjp(partial(depthwise_conv2d, implementation="native"), x, kernel)
            return out, *pull(out)

        together = jax.vmap(gradients, in_axes=(0, axis))(x, kernel)
        for i in range(2):
            alone = gradients(x[i], kernel if axis is None else kernel[i])
            for mine, right in zip(together, alone, strict=True):
                np.testing.assert_array_equal(mine[i], right)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 5, 7, 16), (2, 9, 11, 33), (2, 40, 50, 35)])
def test_wide_depthwise_convolutions_are_those_of_float64(shape, rng):
    """Channels that fill vectors of 16, 8 and 4 numbers; the last is added up in several parts."""
    x, gradient = rng.normal(size=(2, *shape))
    kernel = rng.normal(size=(3, 3, 1, shape[-1]))

    def run(implementation, dtype):
        convolve = partial(depthwise_conv2d, implementation=implementation)
        out, pull = jax.vjp(convolve, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
        return out, *pull(jnp.asarray(gradient, dtype))

    # At most 4,000 products of float32, each sum rounded by 6e-8 of what it has come to.
    check_against_float64(run, 5e-6)


@needs_compiler
@pytest.mark.parametrize("dtypes", [("bfloat16", "bfloat16"), ("float16", "float32")])
def test_column_sums_of_half_precision_have_its_type(dtypes, rng):
    a, b = (jnp.asarray(rng.normal(size=(40, 5)), dtype) for dtype in dtypes)
    sums = native_sums(a, b)
    for mine, wanted in zip(sums, plain_sums(a, b), strict=True):
        assert mine.dtype == wanted.dtype
    exact = np.asarray(a, np.float64).sum(0), (np.asarray(a, np.float64) * np.asarray(b)).sum(0)
    for mine, wanted in zip(sums, exact, strict=True):
        # Added in float32 and rounded once, to the 8 bits of bfloat16 or the 11 of float16.
        np.testing.assert_allclose(np.asarray(mine, np.float64), wanted, rtol=2**-8, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 33), (9, 1), (5001, 70), (70003, 1), (3, 2000, 17)])
def test_column_sums_are_those_of_float64(shape, rng):
    a, b = (rng.normal(1, 1, size=shape).astype(np.float32) for _ in range(2))
    function = jax.vmap(native_sums) if len(shape) == 3 else native_sums
    sums = jax.jit(function)(a, b)
    for mine, terms in zip(sums, (a, a * b.astype(np.float64)), strict=True):
        exact = terms.sum(axis=-2, dtype=np.float64)
        # At most 70,003 numbers of size 3, added eight at a time.
        np.testing.assert_allclose(mine, exact, rtol=2e-5, atol=2e-5 * np.sqrt(shape[-2]))


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 33), (9, 1), (5001, 70), (70003, 1), (3, 2000, 17)])
def test_column_sums_of_whole_numbers_are_exact(shape, rng):
    """Float32 adds them up exactly in any order, so no row is lost or counted twice."""
    a, b = (rng.integers(-4, 6, shape).astype(np.float32) for _ in range(2))
    function = jax.vmap(native_sums) if len(shape) == 3 else native_sums
    for mine, terms in zip(jax.jit(function)(a, b), (a, a * b), strict=True):
        np.testing.assert_array_equal(mine, terms.sum(axis=-2, dtype=np.float64))


@needs_compiler
def test_gradient_of_gradient_agrees_with_xla_in_float64(rng):
    values = [rng.normal(size=s) for s in ((2, 6, 5, 3), (3, 3, 1, 3), (3,))]

    def twice(depthwise, dtype):
        def loss(x, kernel, scale):
            x = depthwise_conv2d(x, kernel, implementation=depthwise)
            x, _, _ = batch_norm(x, scale, scale, epsilon=1e-3)
            return jnp.sum(jnp.sin(x) * jnp.arange(x.size).reshape(x.shape) / x.size)

        def of_gradients(*values):
            return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1, 2))(*values))

        arguments = (jnp.asarray(value, dtype) for value in values)
        return jax.jit(jax.grad(of_gradients, argnums=(0, 1, 2)))(*arguments)

    # float32's 6e-8 through two derivatives, divisions by deviations, and cubes.
    check_against_float64(twice, 1e-4)


@needs_compiler
def test_they_can_be_switched_off(kernels_home):
    home = str(kernels_home)
    on = run_program("list_depthwise", XDG_CACHE_HOME=home)
    off = run_program("list_depthwise", XDG_CACHE_HOME=home, XCEPTION_JAX_KERNELS="off")
    assert on.stdout.split() == [*PORTABLE, "native"], on.stderr
    assert off.stdout.split() == PORTABLE, off.stderr
    wrong = run_program("list_depthwise", XDG_CACHE_HOME=home, XCEPTION_JAX_KERNELS="of")
    assert "XCEPTION_JAX_KERNELS='of': must be one of on, off" in wrong.stderr


@needs_compiler
def test_a_damaged_library_is_named_and_left_alone(kernels_home, tmp_path):
    (library,) = (kernels_home / "xception_jax" / "kernels").glob(f"{native.version()}-*.so")
    damaged = tmp_path / "xception_jax" / "kernels" / library.name
    damaged.parent.mkdir(parents=True)
    shutil.copy(library, damaged)
    os.truncate(damaged, 9000)  # the system's loader does not survive this length
    done = run_program("list_depthwise", XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout.split()) == (0, PORTABLE)
    (line,) = done.stderr.splitlines()
    assert str(damaged) in line
    assert native.BUILD in line


def test_the_lock_of_an_editor_is_no_source(tmp_path):
    """Emacs keeps a hidden link that leads nowhere beside an open file."""
    for path in (Path(native.__file__), *native.SOURCES):
        shutil.copy(path, tmp_path)
    (tmp_path / ".#depthwise.cc").symlink_to("user@host.1:2")
    spec = importlib.util.spec_from_file_location("copied", tmp_path / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    assert [path.name for path in copied.SOURCES] == [path.name for path in native.SOURCES]


def test_what_is_not_a_library_is_not_loaded(tmp_path):
    text = tmp_path / "text"
    text.write_text("not a library")
    path = text.rename(tmp_path / f"{native.version()}-{native.digest(text)}.so")
    assert not native.load(path)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PATH": "", "CXX": ""}, "none of c++, g++, clang++ is there: install one, or"),
        ({"CXX": "no-such-compiler -O1"}, "C++ compiler='no-such-compiler -O1': does not compile"),
        ({"CXX": "false"}, "C++ compiler='false': does not compile the kernels (it ended with 1)"),
        ({"CXX": "true"}, "C++ compiler='true': does not compile the kernels"),
        ({"CXX": "c++ 'x"}, "is not a command: No closing quotation"),
    ],
)
def test_no_compiler_and_one_that_fails_are_one_line(environment, message, build_here, tmp_path):
    code, _, errors = build_here(**environment)
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "", "CXX": ""}, "none of c++, g++, clang++ is there: install one, or"),
        ({"CXX": "false"}, "does not compile the kernels (it ended with 1)"),
        ({"XCEPTION_JAX_KERNELS": "off"}, "none, because XCEPTION_JAX_KERNELS=off"),
        ({"CXX": "c++ 'x"}, "is not a command: No closing quotation"),
    ],
)
def test_an_installation_goes_on_without_them_and_says_why(
    environment, reason, build_here, tmp_path
):
    code, output, _ = build_here("--if-possible", **environment)
    assert code == 0
    (line,) = output.splitlines()
    assert reason in line
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(("words", "code"), [((), 1), (("--if-possible",), 0)])
def test_a_place_that_cannot_be_written_to_is_one_line(words, code, build_here, tmp_path):
    (tmp_path / "xception_jax").mkdir()
    (tmp_path / "xception_jax" / "kernels").write_text("a file where the directory should be")
    # Once in a process, whose exit code is to be what `main` returns.
    build = build_here if words else partial(build_in_a_process, tmp_path)
    found, output, errors = build(*words, CXX="false")
    assert found == code
    (line,) = (output + errors).splitlines()
    assert "File exists" in line


@needs_compiler
def test_building_again_leaves_what_other_machines_may_run(kernels_home, tmp_path, monkeypatch):
    """Another compiler's library of the same version stays, and one that is damaged does not."""
    (library,) = (kernels_home / "xception_jax" / "kernels").glob(f"{native.version()}-*.so")
    place = tmp_path / "kernels"
    place.mkdir()
    (place / f"{native.version()}-{'0' * 16}.so").write_text("damaged")
    built = []
    for number in range(2):
        compiler = tmp_path / f"compiler{number}"
        compiler.write_text(
            f'#!/bin/sh\nfor last do :; done\ncp "{library}" "$last"\necho {number} >> "$last"\n'
        )
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        built.append(build(place))
    assert sorted(place.iterdir()) == sorted(built)


@needs_compiler
def test_an_installation_builds_them_once(kernels_home, tmp_path):
    (library,) = (kernels_home / "xception_jax" / "kernels").glob(f"{native.version()}-*.so")
    compiler = tmp_path / "compiler"  # takes no time: what it makes was compiled before
    compiler.write_text(f'#!/bin/sh\nfor last do :; done\ncp "{library}" "$last"\n')
    compiler.chmod(0o755)
    # Processes: what is built is looked for once in each.
    code, built, errors = build_in_a_process(tmp_path, "--if-possible", CXX=str(compiler))
    assert (code, built.count("\n")) == (0, 1), errors
    assert built.startswith(f"C++ kernels: built {tmp_path}")
    code, again, errors = build_in_a_process(tmp_path, "--if-possible", CXX="false")
    assert (code, again.count("\n")) == (0, 1), errors
    assert "already built" in again
    listed = run_program("list_depthwise", XDG_CACHE_HOME=str(tmp_path))
    assert "native" in listed.stdout.split(), listed.stderr


@needs_compiler
def test_what_is_exported_uses_none():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    convolve = partial(depthwise_conv2d, implementation="native")
    with native.portable():
        assert "ffi_call" not in str(jax.make_jaxpr(convolve)(x, kernel))
