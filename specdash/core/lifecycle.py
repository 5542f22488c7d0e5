"""The life of a server process as one table: states, triggers, and what follows what.

The table is the documentation: a blank is illegal and changes nothing. STOPPING was asked for and ends in STOPPED;
ABORTING was not and ends in FAILED. FAILED by TIMEOUT in ABORTING means that the process could not be killed; nothing
else may be launched then. This module holds no process and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class ServerState(StrEnum):
    """Where a server is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"
    ABORTING = "aborting"
    FAILED = "failed"


class Trigger(StrEnum):
    """What may happen to a server; IDLE = the last request in flight has ended."""

    START = "start"
    LISTENING = "listening"
    HEALTHY = "healthy"
    WARMED = "warmed"
    REQUEST = "request"
    IDLE = "idle"
    STOP = "stop"
    TIMEOUT = "timeout"
    OVER_BUDGET = "over_budget"
    EXITED = "exited"


class IllegalTrigger(Exception):
    """A trigger that the table has no entry for in this state; nothing was changed."""

    def __init__(self, state: ServerState, trigger: Trigger) -> None:
        super().__init__(f"{trigger} is not possible while {state}")
        self.state = state
        self.trigger = trigger


_S, _T = ServerState, Trigger

TABLE: Mapping[ServerState, Mapping[Trigger, ServerState]] = MappingProxyType(
    {
        _S.STOPPED: {_T.START: _S.STARTING, _T.STOP: _S.STOPPED},
        _S.STARTING: {
            _T.LISTENING: _S.LOADING,
            _T.HEALTHY: _S.WARMING,
            _T.STOP: _S.STOPPING,
            _T.TIMEOUT: _S.ABORTING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.LOADING: {
            _T.HEALTHY: _S.WARMING,
            _T.STOP: _S.STOPPING,
            _T.TIMEOUT: _S.ABORTING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.WARMING: {
            _T.WARMED: _S.READY,
            _T.STOP: _S.STOPPING,
            _T.TIMEOUT: _S.ABORTING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.READY: {
            _T.REQUEST: _S.BUSY,
            _T.STOP: _S.STOPPING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.BUSY: {
            _T.REQUEST: _S.BUSY,
            _T.IDLE: _S.READY,
            _T.STOP: _S.STOPPING,
            _T.TIMEOUT: _S.ABORTING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.STOPPING: {
            _T.IDLE: _S.STOPPING,
            _T.STOP: _S.STOPPING,
            _T.TIMEOUT: _S.ABORTING,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.STOPPED,
        },
        _S.ABORTING: {
            _T.IDLE: _S.ABORTING,
            _T.STOP: _S.ABORTING,
            _T.TIMEOUT: _S.FAILED,
            _T.OVER_BUDGET: _S.ABORTING,
            _T.EXITED: _S.FAILED,
        },
        _S.FAILED: {_T.START: _S.STARTING, _T.STOP: _S.FAILED},
    }
)

SETTLED = frozenset({ServerState.STOPPED, ServerState.FAILED})
"""States in which no process of this launch is left (or it could not be killed)."""


def next_state(state: ServerState, trigger: Trigger) -> ServerState:
    """The state that `trigger` leads to from `state`; raises IllegalTrigger where the table has a blank."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        raise IllegalTrigger(state, trigger) from None
