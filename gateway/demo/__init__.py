"""A small world in which to watch the gateway (`llmpo demo`): simulated provider and users, and a live view.

Everything between them is real: HTTP, the gateway process, its embedded store, feedback, the promotion and
its verification. Only the answers and the users' tastes are simulated (`world.py`), so the true preferences
are known and the demo can say whether the promoted policy really is the best one.
"""
