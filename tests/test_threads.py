"""BLAS has one thread on small problems, and its own again afterwards."""

from threading import Event, Thread
from time import sleep

import pytest
from threadpoolctl import threadpool_limits

from jaxridge import threads


@pytest.fixture
def two():
    """Give BLAS two threads, whatever the process was told."""
    before = threads._counts()
    give(2)
    yield
    threads._set(before)


def give(count):
    threads._set((each, count) for each in threads._libraries())


def counts():
    return [library.get_num_threads() for library in threads._libraries()]


def test_blas_has_one_thread_until_the_last_has_gone_out(two):
    assert counts() and set(counts()) == {2}
    outer, inner = threads.few_for(4000, 100), threads.few_for(2000, 50)
    with outer:
        assert set(counts()) == {1}
        with inner:
            assert set(counts()) == {1}
        assert set(counts()) == {1}
    assert set(counts()) == {2}


def test_threads_that_overlap_leave_it_as_it_was(two):
    first, second = threads.few_for(4000, 100), threads.few_for(4000, 100)
    first.__enter__()
    other = Thread(target=second.__enter__)
    other.start()
    other.join()
    first.__exit__(None, None, None)
    assert set(counts()) == {1}
    second.__exit__(None, None, None)
    assert set(counts()) == {2}


def test_the_thread_that_came_first_may_go_out_first_and_live_on(two):
    came, went, end = Event(), Event(), Event()

    def first():
        with threads.few_for(4000, 100):
            came.set()
            went.wait()
        end.wait()

    thread = Thread(target=first)
    thread.start()
    came.wait()
    with threads.few_for(4000, 100):
        went.set()
        while threads._inside > 1:
            sleep(0.001)
    assert set(counts()) == {2}
    end.set()
    thread.join()


def test_a_limit_of_somebody_elses_is_left_to_them(two):
    theirs = threadpool_limits(1, user_api="blas")
    with threads.few_for(4000, 100):
        theirs.restore_original_limits()
    assert set(counts()) == {2}


def test_it_is_so_after_an_error_too(two):
    with pytest.raises(ZeroDivisionError), threads.few_for(4000, 100):
        1 / 0  # noqa: B018
    assert set(counts()) == {2}


@pytest.mark.parametrize(("m", "n"), [(20_000, 500), (10, 10), (10**7, 50), (900, 900)])
def test_large_and_tiny_problems_are_left_alone(two, m, n):
    with threads.few_for(m, n):
        assert set(counts()) == {2}


def test_a_large_product_inside_has_all_of_them(two):
    with threads.few_for(20_000, 500, turns=5):
        with threads.all_for(20_000, 500):
            assert set(counts()) == {2}
        assert set(counts()) == {1}
        with threads.all_for(4000, 100):
            assert set(counts()) == {1}
    with threads.all_for(20_000, 500):
        assert set(counts()) == {2}
    assert set(counts()) == {2}


def test_what_is_little_is_less_with_more_threads_and_more_in_turns(two):
    with threads.few_for(20_000, 500, turns=5):
        assert set(counts()) == {1}
        # As many as there would be count, not the one that there is.
        with threads.few_for(20_000, 500), threads.all_for(20_000, 500):
            assert set(counts()) == {2}
    give(8)
    with threads.few_for(20_000, 500, turns=5):
        assert set(counts()) == {8}
