"""The migrations: each leaves the code before it working."""
