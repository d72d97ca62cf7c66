"""Work on several threads: order, how much is begun, errors, and tools that are lent."""

from __future__ import annotations

import threading
import time

import pytest

from mien.workers import AHEAD, Lent, ordered, ordered_groups


def test_results_come_in_order_and_little_is_begun_ahead():
    begun, threads = [], set()

    def work(item):
        begun.append(item)
        threads.add(threading.get_ident())
        time.sleep(0.02 if item % 3 else 0.005)  # later ones finish first
        return 10 * item

    made = ordered(work, iter(range(41)), 3)
    assert [next(made) for _ in range(5)] == [0, 10, 20, 30, 40]
    assert len(begun) <= 5 + AHEAD * 3 + 1
    assert list(made) == [10 * item for item in range(5, 41)]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


def test_one_worker_is_the_caller():
    assert list(ordered(lambda _: threading.get_ident(), range(2), 1)) == [threading.get_ident()] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_in_its_place_and_the_rest_is_dropped(workers):
    done = []

    def work(item):
        if item == 3:
            raise OSError("full")
        done.append(item)
        return item

    made = ordered(work, range(1000), workers)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="full"):
        next(made)
    assert len(done) < 20


def test_groups_hold_what_is_ready_and_lose_nothing():
    release = threading.Event()

    def work(item):
        if item == 0:
            assert release.wait(5)
        return item

    def items():
        yield from range(5)
        time.sleep(0.1)  # the others are done, the first still works
        release.set()

    groups = list(ordered_groups(work, items(), 5, most=4))
    assert [item for group in groups for item in group] == [0, 1, 2, 3, 4]
    assert groups[0] == [0, 1, 2, 3]


def test_what_is_done_comes_with_the_next_item_and_not_later():
    """Frames of a camera come slowly: a result must not wait until the workers have all that they may begin."""
    pulled = []

    def items():
        for item in range(9):
            pulled.append(item)
            yield item
            time.sleep(0.05)

    made = ordered(lambda item: 10 * item, items(), 2)
    assert next(made) == 0
    assert pulled in ([0], [0, 1])  # [0] where the worker was faster than this thread
    assert list(made) == [10 * item for item in range(1, 9)]


def test_a_tool_serves_one_thread_at_a_time_and_comes_back():
    opened = []

    def open_one():
        opened.append(object())
        return opened[-1]

    tools = Lent(open_one)
    with tools.borrow() as one, tools.borrow() as other:
        assert one is tools.first
        assert other is not one
    with pytest.raises(ValueError, match="broken"), tools.borrow():
        raise ValueError("broken")
    for _ in range(7):
        with tools.borrow() as again:
            assert again in opened
    assert len(opened) == 2
