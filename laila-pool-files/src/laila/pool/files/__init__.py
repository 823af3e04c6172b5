"""A laila pool in a folder: one file an entry, never torn, shared by many processes."""
