"""Wake-ups are sent by a thread of their own: callers do not wait for Redis, no wake-up is lost, simultaneous ones share one."""

import threading

from webhooks.processing.notifier import BackgroundNotifier

PATIENCE_S = 20


class SlowRedis:
    """Takes wake-ups, each as long as the test wants."""

    def __init__(self) -> None:
        self.woken: list[int] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def wake(self, event_id: int) -> None:
        self.woken.append(event_id)
        self.began.release()
        assert self.may_end.acquire(timeout=PATIENCE_S)


def test_a_wake_up_does_not_block_and_serves_all_callers_meanwhile() -> None:
    redis = SlowRedis()
    notifier = BackgroundNotifier(redis.wake)
    notifier.wake(1)
    assert redis.began.acquire(timeout=PATIENCE_S)
    for event_id in (2, 3, 4):  # each returns although Redis has not answered the first
        notifier.wake(event_id)
    redis.may_end.release()
    assert redis.began.acquire(timeout=PATIENCE_S)
    assert redis.woken == [1, 4]
    redis.may_end.release()
    notifier.wake(5)
    assert redis.began.acquire(timeout=PATIENCE_S)
    assert redis.woken == [1, 4, 5]
    redis.may_end.release()


def test_a_fault_loses_one_wake_up_and_not_the_thread() -> None:
    woken: list[int] = []
    done = threading.Semaphore(0)

    def wake(event_id: int) -> None:
        woken.append(event_id)
        done.release()
        if event_id == 1:
            raise ValueError("a fault of ours")

    notifier = BackgroundNotifier(wake)
    for event_id in (1, 2):
        notifier.wake(event_id)
        assert done.acquire(timeout=PATIENCE_S)
    assert woken == [1, 2]
