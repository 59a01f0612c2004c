"""LLM-PO, the algorithm core: pure, synchronous, on indices and arrays. Start reading at `plan.py`."""
