"""Programs as XLA compiles them for an H100, which need not be here.

What they hold in memory, whether they wait for the CPU, and in what precision they
multiply is known before they run. JAX's plugin for CUDA compiles without a GPU: install
`jaxridge[cuda]`, and run ``JAX_PLATFORMS=cpu pytest tests/test_h100.py``.
"""

import importlib.util
import re
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies

from benchmarks.problems import GPU
from jaxridge import accelerator, inner, kernels, plans, refits
from jaxridge.blocks import factorised as factorised_blocks
from jaxridge.blocks import scored as scored_blocks
from jaxridge.costs import NODES
from jaxridge.data import Data
from jaxridge.descent import _train
from jaxridge.folds import Held
from jaxridge.moments import complements, total
from jaxridge.nodes import Nodes
from jaxridge.params import Params
from jaxridge.plans import plan
from jaxridge.products import FAST
from jaxridge.routes import BLOCKS, CHOLESKY, NEARBY, ONE_A_FOLD, TRIDIAGONAL
from jaxridge.rules import Rule, Start
from jaxridge.scatter import How, cross_of_sets, moments_of_sets
from jaxridge.scoring import squared_error
from jaxridge.systems import factorised, factorised_together, solved_nearby
from jaxridge.trajectory import STRIDE

pytestmark = pytest.mark.skipif(
    not any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin"))),
    reason="compiling for a GPU needs JAX's plugin for CUDA: jaxridge[cuda]",
)

# What XLA asks of a device when it compiles for it: an H100's properties.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Nothing can be timed, so that the routines are those which are there without that.
UNTIMED = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}


class Program(NamedTuple):
    """A compiled program: its operations, and the bytes it takes beside its arguments.

    Or, of arguments that other programs made, with them.
    """

    name: str
    text: str
    working: int

    def loops(self) -> list[str]:
        """Return its loops."""
        return [line for line in self.text.splitlines() if re.search(r" while\(", line)]


class Compiler:
    """Compile programs in turn, each for what those before it return."""

    def __init__(self, device: Any) -> None:
        self.placed = jax.sharding.SingleDeviceSharding(device)
        self.programs: list[Program] = []

    def array(self, *shape: int, dtype: Any = "float32") -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=self.placed)

    def data(self, m: int, n: int, t: int, dtype: str) -> Data:
        shapes: Any = (m, n), (m, t), (m,)
        return Data(*(self.array(*shape, dtype=dtype) for shape in shapes))

    def sets(self, k: int, h: int) -> Held:
        return Held(self.array(k, h, dtype="int32"), self.array(k, h, dtype="bool"))

    def __call__(
        self, function: Any, *args: Any, given: Any = (), **static: Any
    ) -> Any:
        """Compile for arguments, of which `given` are not counted; return results."""
        lowered = function.lower(*args, **static)
        compiled = lowered.compile(compiler_options=UNTIMED)
        memory = compiled.memory_analysis()
        known = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(given))
        working = memory.peak_memory_in_bytes - known
        name = function.__name__
        self.programs.append(Program(name, compiled.as_text(), working))
        return jax.tree.map(
            lambda a: self.array(*a.shape, dtype=a.dtype), lowered.out_info
        )


@pytest.fixture(scope="module")
def device():
    what = {"target_config": H100, "topology": "1x1x1"}
    try:
        return topologies.get_topology_desc(platform="cuda", **what).devices[0]
    except NotImplementedError:
        pytest.skip("JAX waits for a GPU: set JAX_PLATFORMS=cpu where there is none")


@pytest.fixture
def compiler(device, monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(accelerator, "is_used", lambda: True)
    monkeypatch.setattr(accelerator, "has_fast_doubles", lambda: True)
    monkeypatch.setattr(plans, "place", lambda _: ("gpu", 80 * 2**30))
    with jax.enable_x64(True):
        yield Compiler(device)
    jax.clear_caches()


def compile_by_sums(compile_: Compiler, made: Any, dtype: str, sharing: str) -> None:
    """Compile what scores folds where there are no more columns than rows."""
    m, n, t, L, k, *_ = made.sizes
    few, how = made.target_tile, How(made.fast, even=True)
    sets, lams = compile_.sets(k, -(-m // k)), compile_.array(L, dtype=dtype)
    data = compile_.data(m, n, few if few == t else 0, dtype)
    parts = compile_(moments_of_sets, data, sets, how, given=data)
    whole = compile_(total, parts)
    training = compile_(complements, parts, whole)
    how_solved = {"sharing": sharing, "fit_intercept": True}
    if sharing in NEARBY:
        shared = compile_(factorised_together, whole, lams, **how_solved)
    else:
        shared = compile_(factorised, training, lams, **how_solved)
    data = compile_.data(m, n, few, dtype)
    if few != t:
        y, xy, yy = compile_(
            cross_of_sets, data, sets, parts.weight, parts.x, how, given=data
        )
        parts = parts._replace(y=y, xy=xy, yy=yy)
        training = compile_(complements, parts, compile_(total, parts))
    if sharing in NEARBY:
        how_solved |= {"fold_tile": made.fold_tile}
        shared = compile_(solved_nearby, shared, training, lams, **how_solved)
    few = nodes(compile_, L, dtype) if sharing == ONE_A_FOLD and t > 1 else None
    systems = refits.Systems(shared, few, parts, training, lams)
    given = systems, sharing, True, squared_error
    if k * n <= m:
        compile_(refits.scored_from_sums, *given)
    else:
        more = data, sets, made.lam_tile
        compile_(refits.scored_from_rows, *given, *more, given=data)


def compile_by_kernel(compile_: Compiler, made: Any, dtype: str, sharing: str) -> None:
    """Compile what scores folds where there are more columns than rows."""
    m, n, _, L, k, *_ = made.sizes
    h = -(-m // k)
    X, weight, lams = (compile_.array(*s, dtype=dtype) for s in ((m, n), (m,), (L,)))
    train, held = compile_.sets(k, m - m // k), compile_.sets(k, h)
    fast = made.fast
    K = compile_(inner.products_of_rows, X, fast, given=X)
    Y = compile_.array(m, made.target_tile, dtype=dtype)
    if sharing == BLOCKS:
        whole = compile_(factorised_blocks, K, weight, True)
        rest = held, lams, squared_error, True, made.lam_tile
        few = nodes(compile_, L, dtype)
        compile_(scored_blocks, whole, Y, weight, *rest, few, given=Y)
        return
    least = compile_.array(dtype=dtype)
    each = compile_(kernels.factorised, K, weight, train, held, least, True, sharing)
    rest = train, held, lams, squared_error, True, made.lam_tile
    few = nodes(compile_, L, dtype) if sharing == ONE_A_FOLD else None
    compile_(kernels.scored, each, Y, weight, *rest, few, given=Y)


def nodes(compile_: Compiler, L: int, dtype: str) -> Nodes:
    R = NODES[dtype]
    return Nodes(compile_.array(R, dtype=dtype), compile_.array(L, R, dtype=dtype))


def programs(compiler: Compiler, name: str, sharing: Any = None, **how: Any) -> Any:
    """Return the plan of a problem, and its programs."""
    one = GPU[name]
    sizes = one.n_samples, one.n_features, one.n_targets, one.n_lams, one.folds
    made = plan(*sizes, one.dtype, "gpu", **how)
    by = compile_by_sums if one.n_features <= one.n_samples else compile_by_kernel
    by(compiler, made, one.dtype, sharing or made.route.sharing)
    return made, compiler.programs


@pytest.mark.parametrize("name", GPU)
def test_memory_is_what_the_plan_says(compiler, name):
    made, found = programs(compiler, name)
    most = max(program.working for program in found)
    assert most <= made.bytes, [(one.name, one.working) for one in found]
    assert made.bytes <= made.budget


@pytest.mark.parametrize("name", GPU)
def test_nothing_asks_the_cpu_but_loops_until_something_is_so(compiler, name):
    for program in programs(compiler, name)[1]:
        assert "callback" not in program.text
        # Whether a fold is a small part of all, once, before anything is factorised.
        allowed = program.name == "complements"
        assert (" conditional(" in program.text) <= allowed, program.name
        unknown = [loop for loop in program.loops() if "known_trip_count" not in loop]
        assert len(unknown) <= (program.name == "solved_nearby"), program.name


def multiplied_in(text: str) -> set[str]:
    """Return the precisions that are asked for in products of float32 matrices."""
    products = [
        line
        for line in text.splitlines()
        if re.search(r"target=\"__cublas\S*matmul| dot\(", line)
    ]
    asked = [re.search(r"operand_precision\W+(\w+)", line) for line in products]
    wide = [re.match(r".*= \(?f64", line) for line in products]
    return {
        found[1].lower() if found else "default"
        for found, double in zip(asked, wide, strict=True)
        if not double
    }


@pytest.mark.parametrize("sharing", [ONE_A_FOLD, CHOLESKY, TRIDIAGONAL, *NEARBY])
def test_nothing_is_multiplied_in_tf32(compiler, sharing):
    found = programs(compiler, "folds-4096", sharing)[1]
    asked = set().union(*(multiplied_in(program.text) for program in found))
    assert asked == {"highest"}


@pytest.mark.parametrize("name", ["targets", "targets-wide", "targets-kernel"])
def test_nothing_of_many_targets_is_multiplied_in_tf32(compiler, name):
    found = programs(compiler, name)[1]
    assert set().union(*(multiplied_in(one.text) for one in found)) == {"highest"}


def test_fast_products_are_of_rows_alone(compiler):
    sums, *rest = programs(compiler, "folds-4096", precision=FAST)[1]
    assert multiplied_in(sums.text) == {"default"}
    assert set().union(*(multiplied_in(one.text) for one in rest)) == {"highest"}


@pytest.mark.parametrize("name", ["folds-1000", "folds-4096"])
def test_a_block_is_read_once_and_added_up_where_it_is_multiplied(compiler, name):
    sums = programs(compiler, name)[1][0]
    n, bodies = GPU[name].n_features, re.split(r"\n(?=%|ENTRY)", sums.text)
    (body,) = (body for body in bodies if "syrk" in body and body.startswith("%"))
    made = re.findall(r"%(\w+?)[.\d]* = f\d\d\[([\d,]+)\]\S* (?:fusion|copy)\(", body)
    large = [
        what for what, sizes in made if prod(map(int, sizes.split(","))) > n * n / 2
    ]
    # One kernel gathers, centres, widens and turns; BLAS does the rest, in place.
    assert large == ["input_transpose_fusion"]


def test_sums_hold_a_block_and_what_they_add_up_to(compiler):
    sums = programs(compiler, "folds-4096")[1][0]
    n, k = GPU["folds-4096"].n_features, GPU["folds-4096"].folds
    square = 8 * n * n
    held = k * square / 2 + 2 * square + 2**27
    assert sums.working < 1.2 * held, sums.working / held


def trained(compiler: Compiler, **how: bool) -> Any:
    """Return the program of 200 steps at 100 penalties."""
    lams, params = (
        compiler.array(100),
        Params(compiler.array(1000, 1), compiler.array(1)),
    )
    key = compiler.array(2, dtype="uint32")
    start = Start(lams, lams, compiler.array(), params, key)
    rule = Rule("step", True, 200, 0, from_zero=True, **how)
    compiler(_train, compiler.data(100_000, 1000, 1, "float32"), start, rule=rule)
    (program,) = compiler.programs
    return program


@pytest.mark.parametrize("fast", [False, True])
def test_a_descent_is_multiplied_as_it_is_asked_to(compiler, fast):
    program = trained(compiler, compress=False, fast=fast)
    bodies = re.split(r"\n(?=%|ENTRY)", program.text)
    of_steps = [multiplied_in(body) for body in bodies if "f32[100,100000]" in body]
    assert set().union(*of_steps) == {"default" if fast else "highest"}


def test_small_rows_are_descended_many_steps_for_each_look(compiler):
    program = trained(compiler, compress=True, fast=False)
    bodies = re.split(r"\n(?=%|ENTRY)", program.text)
    looks = [
        re.search(r"body=(%[\w.]+)", loop)[1]
        for loop in program.loops()
        if "known_trip_count" not in loop
    ]
    steps = next(body for body in bodies if body.startswith(looks[0] + " "))
    assert steps.count("__cublas") == 2 * STRIDE
    kernels = re.findall(r" (?:fusion|copy|custom-call)\(", steps)
    assert len(kernels) <= 11 * STRIDE
