"""The one place that wires things together: profile, engine, server, journal and the sweep over them."""
