"""Programs that make the documentation site from the library, its tests and its records."""
