"""What the processes beside the web server do until they are stopped: the worker's jobs, the sweep, files and monitoring."""

import logging
import signal
import threading
import time
from datetime import timedelta

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.errors import ConfigurationError, describe_unexpected
from plugin.runtime.malloc import limit_arenas

log = logging.getLogger(__name__)

REDIS_START_TIMEOUT_S = 30.0
PURGE_INTERVAL_S = 3600.0
#: The longest pause between two questions which shops are due for a check of their webhook subscriptions.
MONITOR_PAUSE_S = 30.0


def run_worker(services: Services) -> None:
    """Run RQ jobs until SIGTERM, without a fork per job, so that connections to Engage stay open."""
    limit_arenas()
    worker = services.worker()
    _wait_for_redis(worker.connection)
    try:
        worker.work(logging_level="WARNING")
    finally:
        services.inbox_worker.stop()
        services.close()


def run_sweep(services: Services, *, once: bool = False) -> None:
    """Release lost leases and wake workers for due events every SWEEP_INTERVAL_S, until SIGTERM.

    The fallback's files and the monitoring of shops run in threads beside it, because a transfer or a shop may be slow. once:
    sweep and do the due work on files once, then return.
    """
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    files = threading.Thread(target=run_fallback, args=(services, stop), name="fallback")
    if once:
        run_fallback_once(services)
    else:
        threading.Thread(target=_run_monitor, args=(services, stop), name="monitor", daemon=True).start()
        files.start()
    try:
        _sweep_until(services, stop, once=once)
    finally:
        stop.set()
        if files.ident is not None:
            files.join()
        services.close()


def sweep_once(services: Services) -> None:
    """Sweep once and wake workers for what is due."""
    swept = services.sweep.run(services.clock())
    for event_id in swept.due:
        services.notifier.wake(event_id)
    if swept.lost_leases or swept.released or swept.overdue:
        log.warning("sweep lost_leases=%d released=%d overdue=%d", swept.lost_leases, swept.released, swept.overdue)


def run_fallback(services: Services, stop: threading.Event) -> None:
    """Do what is due for the fallback's files every SWEEP_INTERVAL_S, until stop is set."""
    while True:
        run_fallback_once(services)
        if stop.wait(services.settings.sweep_interval_s):
            return


def run_fallback_once(services: Services) -> None:
    """Do what is due for the fallback's files. An error is logged, and the next cycle tries again."""
    try:
        services.fallback.run()
    except SQLAlchemyError as error:
        log.error("loop=fallback error=%s the database did not answer; trying again", type(error).__name__)
    except Exception as error:  # noqa: BLE001 - an unexpected error must not end the work on files until the next start
        log.error("loop=fallback error=%r trying again", describe_unexpected(error))


def _sweep_until(services: Services, stop: threading.Event, *, once: bool) -> None:
    purge_at = 0.0
    while True:
        try:
            sweep_once(services)
            if time.monotonic() >= purge_at:
                services.sweep.purge_expired(services.clock(), services.stores.shops.all())
                purge_at = time.monotonic() + PURGE_INTERVAL_S
        except SQLAlchemyError as error:
            log.error("loop=sweep error=%s the database did not answer; trying again", type(error).__name__)
        except ConfigurationError as error:  # ending would only restart the process with the same faulty set-up
            log.error("loop=sweep error=ConfigurationError trying again: %s", " ".join(error.faults))
        if once or stop.wait(services.settings.sweep_interval_s):
            return


def _run_monitor(services: Services, stop: threading.Event) -> None:
    """Check the webhook subscriptions of shops that are due and reconcile shops daily, until stop is set."""
    interval = timedelta(seconds=services.settings.watch_interval_s)
    while not stop.wait(min(MONITOR_PAUSE_S, services.settings.watch_interval_s)):
        try:
            services.monitor.check_due_shops(interval)
            services.reconciler.daily()
        except SQLAlchemyError as error:
            log.error("loop=monitor error=%s the database did not answer; trying again", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - an odd answer of one shop must not end the monitoring of all
            log.error("loop=monitor error=%r trying again", describe_unexpected(error))


def _wait_for_redis(redis: Redis) -> None:
    """Wait until Redis answers. Raises RedisError when it does not within REDIS_START_TIMEOUT_S."""
    until = time.monotonic() + REDIS_START_TIMEOUT_S
    while True:
        try:
            redis.ping()
        except RedisError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
