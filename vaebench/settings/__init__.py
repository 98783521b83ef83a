"""Settings: what each may be, its default, and its earlier names."""
