"""Backups of the platform's databases: made, copied, proven by restoring them, and measured."""
