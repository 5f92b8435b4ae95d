"""The root of all errors that a user can mend."""


class UserError(ValueError):
    """Something given from outside does not fit; the message names it and the remedy, so that no traceback is needed."""


class DataError(UserError):
    """Data that is missing, broken or does not fit; the message names the file and the remedy."""
