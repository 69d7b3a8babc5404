"""The views that a user has left, to go back to; without Qt."""

from dataclasses import fields

from ui.viewmodel import ViewState

__all__ = ["ViewHistory"]

_KEPT = 200
_TOGETHER_S = 0.8  # changes of the same kind within that time are one, such as a drag


class ViewHistory:
    """What a user changed in the view: undo and redo."""

    def __init__(self) -> None:
        self._past: list[ViewState] = []
        self._future: list[ViewState] = []
        self._last: tuple[frozenset[str], float] = (frozenset(), -_TOGETHER_S)

    @property
    def undoable(self) -> bool:
        """Whether there is a view to go back to."""
        return bool(self._past)

    @property
    def redoable(self) -> bool:
        """Whether there is a view that was left by going back."""
        return bool(self._future)

    def note(self, before: ViewState, after: ViewState, now_s: float) -> None:
        """Note a change that the user made at a time (seconds of any steady clock)."""
        changed = frozenset(
            part.name
            for part in fields(ViewState)
            if getattr(before, part.name) != getattr(after, part.name)
        )
        if not changed:
            return
        kind, when_s = self._last
        self._last = (changed, now_s)
        self._future.clear()
        if changed == kind and now_s - when_s < _TOGETHER_S and self._past:
            return
        self._past = [*self._past[-_KEPT + 1 :], before]

    def undo(self, now: ViewState) -> ViewState:
        """Return the view before the last change; ``now`` is kept for ``redo``."""
        self._future.append(now)
        self._last = (frozenset(), 0.0)
        return self._past.pop()

    def redo(self, now: ViewState) -> ViewState:
        """Return the view that the last ``undo`` left."""
        self._past.append(now)
        return self._future.pop()
