"""Seeded problems and small data with known answers, for claims, tests and benchmarks."""
