"""One file an operator: a step-by-step reference and the fast path side by side."""
