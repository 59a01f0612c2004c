"""LLM-PO, the algorithm core: pure, synchronous, on integer indices and arrays. Start reading at `plan.py`."""
