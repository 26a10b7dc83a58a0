"""A transport and an inbox that a test can interrupt: a worker dies before or after a call, or after a commit."""

from collections.abc import Callable
from typing import Any

from plugin.engage.http.transport import EngageAccount, Transport
from plugin.engage.operations import Operation


class Crash(BaseException):
    """A worker dies here: no `except Exception` sees it."""


class InterruptibleTransport(Transport):
    """Calls `before` and `after` around each call to Engage, with the operation's name."""

    before: Callable[[str], None] = staticmethod(lambda _name: None)
    after: Callable[[str], None] = staticmethod(lambda _name: None)

    def call(self, account: EngageAccount, operation: Operation, **options: Any) -> Any:
        self.before(operation.name)
        answer = super().call(account, operation, **options)
        self.after(operation.name)
        return answer


class CrashPoint:
    """Counts the points that a worker passes and crashes it at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.passed: list[str] = []
        self.at = at

    def pass_by(self, point: str) -> None:
        self.passed.append(point)
        if self.at is not None and len(self.passed) == self.at + 1:
            raise Crash(point)

    def wire(self, rig: Any) -> None:
        """Put this fuse into a rig's calls and commits."""
        transport = InterruptibleTransport(rig.call_guards)
        transport.before = lambda name: self.pass_by(f"before {name}")
        transport.after = lambda name: self.pass_by(f"after {name}")
        rig.transport = transport
        self._after_commit(rig.stores.inbox, "save_progress")
        self._after_commit(rig.stores.redemptions, "intend")

    def _after_commit(self, store: Any, name: str) -> None:
        real = getattr(type(store), name)

        def commit(*arguments: Any, **named: Any) -> Any:
            done = real(store, *arguments, **named)
            self.pass_by(f"committed {name}")
            return done

        setattr(store, name, commit)
