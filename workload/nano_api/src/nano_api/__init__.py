"""nano_api: a marketplace for small digital goods."""

__version__ = "0.1.0"
