"""The parts of `bench/recorded.py`."""
