"""One exception for each exit code of the command."""


class ReleqcError(Exception):
    """What every failure is; `exit_code` is that of the command, `details` what its JSON object says."""

    exit_code = 1

    def __init__(self, message, details=None):
        super().__init__(message)
        self.details = details or {}


class Defect(ReleqcError):
    """A defect of releqc; please report it."""


class InputError(ReleqcError, ValueError):
    """Wrong arguments, bad or unreadable input, an output that cannot be written."""

    exit_code = 2


class UnsupportedError(ReleqcError):
    """A model that is valid but not supported."""

    exit_code = 3


class GoalMissed(ReleqcError):
    """The accuracy goal was missed; `compiled` is the best artifact that was found."""

    exit_code = 4

    def __init__(self, message, details=None, compiled=None):
        super().__init__(message, details)
        self.compiled = compiled


class Interrupted(ReleqcError):
    """The command was stopped."""

    exit_code = 130


BY_CODE = {error.exit_code: error for error in (InputError, UnsupportedError, GoalMissed, Interrupted)}
