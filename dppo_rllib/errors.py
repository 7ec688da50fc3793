"""Errors whose message is meant for users."""

from __future__ import annotations


class UserError(RuntimeError):
    """Nothing is wrong with the program: the message says what its user can do."""
