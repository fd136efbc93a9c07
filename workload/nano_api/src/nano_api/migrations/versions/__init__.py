"""One file per revision; the file's name begins with it."""
