"""laila beside its raw backends: ``make bench``. Only the ratios count; see README.md."""
