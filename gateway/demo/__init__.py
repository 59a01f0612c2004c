"""A small world to watch the gateway in (`llmpo demo`): a simulated provider, simulated users, a live view.

Everything between them is real: HTTP, the gateway process, its embedded store, feedback, the promotion and
its verification. Only the answers and the tastes are made up (`world.py`), so the truth is known and the
demo can say whether the promoted policy really is the best one.
"""
