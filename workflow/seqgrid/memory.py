"""How much memory this process has used, and whether an error says that there was none left."""

import resource
import sys


def peak_host() -> int:
    """Peak resident memory of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak() -> int:
    """Peak memory of this process: device memory on CUDA, else resident; bytes."""
    torch = sys.modules.get("torch")  # not imported here: there may be no memory for it
    on_gpu = torch is not None and torch.cuda.is_available()
    return torch.cuda.max_memory_allocated() if on_gpu else peak_host()


def ran_out(error: Exception) -> bool:
    """Whether an error is an out-of-memory: of Python, torch's allocator on the CPU, a device."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)
