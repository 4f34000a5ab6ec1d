"""Suites for airspeed velocity; importable on any version of the package, whose missing parts are skipped."""
