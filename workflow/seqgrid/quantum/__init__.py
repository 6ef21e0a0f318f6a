"""Quantum circuits as batched tensors.

Wire 0 is the most significant bit of a basis state's index, as in PennyLane. A state is a complex
tensor (..., 2^n); the leading dimensions are a batch, and every element of it may have angles of
its own.
"""

from seqgrid.quantum.readout import pauli_expectations
from seqgrid.quantum.simulate import run, run_expectations

__all__ = ["pauli_expectations", "run", "run_expectations"]
