"""The exact line search on parabolas, and when two optimisers are the same."""

import random
from collections import deque
from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, compilations

from jaxridge import descend
from jaxridge.optimizers import exact_line_search, lbfgs, safe_step
from jaxridge.sameness import Same

X, y = np.arange(12.0).reshape(6, 2) / 10, np.arange(6.0)


def quadratic(n, condition=1e3, seed=0):
    """Return H with eigenvalues from 1 to `condition`, b, and the minimum H⁻¹b."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    H = (Q * np.geomspace(1, condition, n)) @ Q.T
    b = rng.normal(size=n)
    return H, b, np.linalg.solve(H, b)


def descended(optimizer, H, b, steps):
    """Return where `optimizer` ends from 0, and the relative gradient norm there."""

    def cost(theta):
        return theta @ H @ theta / 2 - b @ theta

    def step(carry, _):
        theta, memory = carry
        value, slope = jax.value_and_grad(cost)(theta)
        updates, memory = optimizer.update(
            slope, memory, theta, value=value, grad=slope, value_fn=cost
        )
        return (optax.apply_updates(theta, updates), memory), None

    with jax.enable_x64(True):
        start = jnp.zeros(len(b))
        end = np.asarray(
            jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0][0]
        )
    return end, np.linalg.norm(H @ end - b) / np.linalg.norm(b)


@pytest.mark.parametrize("direction", ["downhill", "uphill", "mixed"])
def test_line_search_lands_at_the_minimum_along_the_direction(direction):
    H, b, _ = quadratic(4)
    theta = np.arange(4.0)
    slope = H @ theta - b
    d = {"downhill": -slope, "uphill": 3 * slope, "mixed": np.array([1.0, 0, -2, 0])}
    d = d[direction]
    search = exact_line_search()
    with jax.enable_x64(True):
        move, _ = search.update(
            jnp.asarray(d),
            search.init(theta),
            jnp.asarray(theta),
            grad=jnp.asarray(slope),
            value_fn=lambda theta: theta @ H @ theta / 2 - b @ theta,
        )
        move = np.asarray(move)
    assert_close(move, -(slope @ d) / (d @ H @ d) * d)
    landed = H @ (theta + move) - b
    assert abs(landed @ d) <= 1e-12 * np.linalg.norm(slope) * np.linalg.norm(d)


def test_line_search_stays_where_the_direction_is_zero():
    search, zero = exact_line_search(), jnp.zeros(2)
    move, _ = search.update(
        zero, search.init(zero), zero, grad=zero, value_fn=lambda theta: theta @ theta
    )
    assert not np.any(move)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_lbfgs_needs_about_as_many_steps_as_features(n):
    H, b, answer = quadratic(n)
    end, norm = descended(lbfgs(jnp.linalg.norm(b)), H, b, n + 2)
    assert norm <= 1e-9
    assert np.linalg.norm(end - answer) <= 1e-9 * np.linalg.norm(answer)


def test_lbfgs_with_more_features_than_memory_still_beats_plain_descent():
    H, b, _ = quadratic(40)
    plain = optax.with_extra_args_support(optax.sgd(1e-3))
    assert descended(lbfgs(jnp.linalg.norm(b)), H, b, 150)[1] <= 1e-9
    assert descended(plain, H, b, 150)[1] >= 1e-2


@pytest.mark.parametrize(
    ("curvature", "lam", "step"), [(2.0, 0.0, 0.5), (2.0, 40.0, 0.1), (0.0, 0.0, 1.0)]
)
def test_safe_step_is_one_over_the_largest_curvature(curvature, lam, step):
    m = 5.0
    assert_close(safe_step(*map(jnp.float32, (curvature, lam, m))), step)


def test_safe_step_of_a_grid_is_one_for_each_penalty():
    lams = jnp.array([0.0, 1.0, 10.0])
    assert_close(safe_step(jnp.float32(1), lams, jnp.float32(1)), 1 / (1 + lams))


def by_closure(rate, times=1):
    def update(updates, state, params=None, *, sign=-1.0):
        return jax.tree.map(lambda g: sign * rate * times * g, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def by_other_closure(rate):
    def update(updates, state, params=None):
        return jax.tree.map(lambda g: -2 * rate * g, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def recursive(rate):
    def halved(g, times):
        return g if times == 0 else halved(g / 2, times - 1)

    def update(updates, state, params=None):
        return jax.tree.map(lambda g: -rate * halved(g, 3), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def mutually_recursive(rate):
    def even(g, times):
        return g if times == 0 else odd(g / 2, times - 1)

    def odd(g, times):
        return even(g / rate, times - 1)

    def update(updates, state, params=None):
        return jax.tree.map(lambda g: even(g, 4), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def never_filled(rate):
    def update(updates, state, params=None):
        scale = rate if rate else fallback
        return jax.tree.map(lambda g: -scale * g, updates), state

    if not rate:
        fallback = 1.0
    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


RULES = {
    "sgd": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adam": lambda rate: optax.adam(rate),
    "adamw": lambda rate: optax.adamw(rate, weight_decay=0.1),
    "rmsprop": lambda rate: optax.rmsprop(rate),
    "lion": lambda rate: optax.lion(rate),
    "chain": lambda rate: optax.chain(optax.clip(1.0), optax.sgd(rate)),
    "clipped adam": lambda rate: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(rate)
    ),
    "exponential decay": lambda rate: optax.sgd(optax.exponential_decay(rate, 10, 0.9)),
    "cosine decay": lambda rate: optax.sgd(optax.cosine_decay_schedule(rate, 100)),
    "linear decay": lambda rate: optax.adam(optax.linear_schedule(rate, 0.0, 100)),
    "closure": by_closure,
    "other closure": by_other_closure,
    "recursive closure": recursive,
    "mutually recursive closures": mutually_recursive,
    "closure over an empty cell": never_filled,
}


@pytest.mark.parametrize("name", RULES)
def test_rules_built_alike_are_the_same(name):
    first, again = Same(RULES[name](0.1)), Same(RULES[name](0.1))
    assert first == again
    assert hash(first) == hash(again)


@pytest.mark.parametrize("name", RULES)
def test_rules_with_another_constant_are_not_the_same(name):
    assert not Same(RULES[name](0.1)) == Same(RULES[name](0.2))


def test_unequal_is_the_opposite_of_equal():
    first, again, other = (Same(optax.sgd(rate)) for rate in (0.1, 0.1, 0.2))
    assert (first != again, first != other) == (False, True)


def test_rules_of_another_kind_are_not_the_same():
    made = [Same(rule(0.1)) for rule in RULES.values()]
    alike = [
        (a, b)
        for i, a in enumerate(RULES)
        for j, b in enumerate(RULES)
        if i < j and made[i] == made[j]
    ]
    assert not alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.sgd(0.1, momentum=0.9), optax.sgd(0.1, momentum=0.8)),
        (optax.sgd(0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True)),
        (optax.adam(0.1), optax.adam(0.1, b1=0.8)),
        (optax.adam(0.1), optax.adam(0.1, eps=1e-6)),
        (
            optax.chain(optax.clip(1.0), optax.sgd(0.1)),
            optax.chain(optax.sgd(0.1), optax.clip(1.0)),
        ),
        (by_closure(1), by_closure(1.0)),
        (by_closure(1), by_closure(True)),
        (by_closure(0.1), by_closure(0.1, times=2)),
    ],
)
def test_rules_that_differ_in_one_option_are_not_the_same(one, other):
    assert not Same(one) == Same(other)


RATE = 0.1


def of_a_global():
    return optax.sgd(lambda step: helped() * 2)


def helped():
    return RATE


def test_a_descent_reads_a_global_again(monkeypatch):
    X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])

    def step():
        options = {"max_steps": 1, "compress": False}
        return descend(X, y, 1.0, optimizer=of_a_global(), **options).params.coef

    assert Same(of_a_global()) == Same(of_a_global())
    first = step()
    monkeypatch.setitem(globals(), "RATE", 0.01)
    np.testing.assert_allclose(step(), first / 10, rtol=1e-12)


def test_an_enclosed_array_counts_by_value():
    rate = jnp.array(0.1)
    assert Same(by_closure(rate)) == Same(by_closure(rate))
    assert hash(Same(by_closure(rate))) == hash(Same(by_closure(rate)))
    assert Same(by_closure(rate)) == Same(by_closure(jnp.array(0.1)))
    assert not Same(by_closure(rate)) == Same(by_closure(jnp.array(0.2)))


def test_an_optimizer_is_nothing_but_another_optimizer():
    rule = optax.sgd(0.1)
    assert not Same(rule) == rule
    assert not Same(rule) == (rule,)
    assert not Same(rule) == "sgd"
    assert {Same(optax.sgd(0.1)): "found"}[Same(optax.sgd(0.1))] == "found"


class Rate:
    """A step kept where an object without a dictionary keeps it."""

    __slots__ = ("value",)

    def at(self, step):
        return self.value


def holders():
    """Return, for each place, a schedule that reads its step there, and a setter."""
    module, kept, line = ModuleType("kept"), Rate(), deque([0.0])

    class Kept:
        rate = 0.0

    return {
        "module": (lambda step: module.rate, partial(setattr, module, "rate")),
        "class": (lambda step: Kept.rate, partial(setattr, Kept, "rate")),
        "deque": (lambda step: line[0], partial(line.__setitem__, 0)),
        "slots": (kept.at, partial(setattr, kept, "value")),
    }


@pytest.mark.parametrize("place", holders())
def test_a_value_that_changed_is_read_anew(place):
    schedule, put = holders()[place]
    X, y = np.arange(12.0).reshape(6, 2) / 10, np.arange(6.0)
    for rate in (0.1, 0.01):
        put(rate)
        found = descend(X, y, 1.0, optimizer=optax.sgd(schedule), max_steps=5, tol=0)
        plain = descend(X, y, 1.0, learning_rate=rate, max_steps=5, tol=0)
        np.testing.assert_allclose(found.history, plain.history, rtol=1e-12)


def test_noise_from_a_typed_key_is_a_rule_like_others():
    rule = optax.noisy_sgd(0.01, key=jax.random.key(0))
    assert np.isfinite(descend(X, y, 1.0, optimizer=rule, max_steps=5).history).all()


class Plain:
    """A rule whose functions are methods of an object that holds its rate."""

    def __init__(self, rate):
        self.rate = rate

    def update(self, updates, state, params=None):
        return jax.tree.map(lambda g: -self.rate * g, updates), state

    def rule(self):
        return optax.GradientTransformation(lambda params: (), self.update)


class Dice(random.Random):
    """What it will do next is told by no attribute."""

    def rule(self):
        def update(updates, state, params=None):
            return jax.tree.map(lambda g: -self.random() * g, updates), state

        return optax.GradientTransformation(lambda params: (), update)


def test_objects_of_the_same_attributes_are_the_same():
    assert Same(Plain(0.1).rule()) == Same(Plain(0.1).rule())
    assert not Same(Plain(0.1).rule()) == Same(Plain(0.2).rule())


def test_objects_that_hold_more_than_attributes_are_the_same_only_as_themselves():
    dice = Dice(0)
    assert Same(dice.rule()) == Same(dice.rule())
    assert not Same(dice.rule()) == Same(Dice(1).rule())
    first, other = jax.jit(lambda a: a + 1), jax.jit(lambda a: a + 2)
    assert not Same(optax.stateless(first)) == Same(optax.stateless(other))


def test_a_wrapper_built_anew_compiles_nothing():
    def train():
        every = optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation()
        return descend(X, y, 1.0, optimizer=every)

    train()
    with compilations() as count:
        train()
    assert count() == 0


def as_single(updates, params=None):
    return jax.tree.map(lambda g: g.astype(jnp.float32), updates)


UNFIT = {
    "asks for an objective": optax.contrib.sophia(0.1),
    "takes no value": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
    "two sets of params": optax.lookahead(optax.sgd(0.1), 5, 0.5),
    "no pair": optax.GradientTransformation(lambda p: (), lambda u, s, p=None: None),
}


@pytest.mark.parametrize("rule", UNFIT.values(), ids=UNFIT)
def test_rules_that_need_more_than_a_descent_gives_are_refused(rule):
    with pytest.raises(TypeError, match="`optimizer` cannot step from the gradient"):
        descend(X, y, 1.0, optimizer=rule)


def test_a_rule_that_changes_the_dtype_is_refused():
    with jax.enable_x64(True):
        wide = X.astype(np.float64), y.astype(np.float64)
        with pytest.raises(TypeError, match="`optimizer` returns a step of another"):
            descend(*wide, 1.0, optimizer=optax.stateless(as_single))


RATE, BYTES = 0.1, bytearray([1])


class Base:
    rate = 0.1

    def size(self):
        return RATE


class Called(Base):
    def __call__(self, step):
        return RATE


class Inherits(Base):
    def __call__(self, step):
        return self.rate


class Asks(Base):
    def __call__(self, step):
        return self.size()


class Property(Base):
    @property
    def now(self):
        return RATE

    def __call__(self, step):
        return self.now


class Static(Base):
    @staticmethod
    def now():
        return RATE

    def __call__(self, step):
        return self.now()


class Reads(Base):
    def __call__(self, step):
        return BYTES[0] / 10


CHANGES = {
    "a global read when called": (Called(), "RATE"),
    "an inherited class attribute": (Inherits(), "rate"),
    "a global read in an inherited method": (Asks(), "RATE"),
    "a global read in a property": (Property(), "RATE"),
    "a global read in a static method": (Static(), "RATE"),
    "a buffer": (Reads(), "BYTES"),
}


@pytest.mark.parametrize(("schedule", "what"), CHANGES.values(), ids=CHANGES)
def test_what_an_object_reads_is_read_anew(monkeypatch, schedule, what):
    def rule():
        return optax.sgd(schedule)

    before = Same(rule())
    assert before == Same(rule())
    if what == "rate":
        monkeypatch.setattr(Base, what, 0.2)
    elif what == "RATE":
        monkeypatch.setitem(globals(), what, 0.2)
    else:
        BYTES[0] = 2
    assert not before == Same(rule())


def test_what_a_module_within_a_module_holds_is_read_anew():
    package, module = ModuleType("package"), ModuleType("package.module")
    package.module, module.rate = module, 0.1
    rule = optax.sgd(lambda step: package.module.rate)
    before = Same(rule)
    assert before == Same(rule)
    module.rate = 0.2
    assert not before == Same(rule)


def test_a_list_that_holds_more_than_its_items_is_the_same_as_itself_alone():
    class Schedule(list):
        def __call__(self, step):
            return self.rate

    def made(rate):
        found = Schedule()
        found.rate = rate
        return optax.sgd(found)

    one = made(0.1)
    assert Same(one) == Same(one) and Same(one) != Same(made(0.2))


def test_what_another_has_taken_the_place_of_in_memory_is_not_the_same():
    # A bound method counts by identity, and the next one may lie where it lay.
    def built():
        rate = {0: 1.0}.get
        return optax.GradientTransformation(
            lambda params: (), lambda updates, state, params=None: (rate(0), state)
        )

    first = Same(built())
    assert all(Same(built()) != first for _ in range(20))


def test_a_rate_of_numpy_s_widens_no_step():
    # Where NumPy's rows are float32 JAX has 64 bits, and such a rate is float64.
    rows = X.astype(np.float32), y.astype(np.float32)
    found = descend(*rows, 1.0, optimizer=optax.sgd(np.float64(0.1)), max_steps=5)
    expected = descend(*rows, 1.0, optimizer=optax.sgd(0.1), max_steps=5)
    assert found.params.coef.dtype == np.float32
    np.testing.assert_allclose(found.history, expected.history, rtol=1e-6)
