"""The root of all errors that a user can mend."""


class UserError(ValueError):
    """Something given from outside does not fit; the message names it and the remedy, so that no traceback is needed."""
