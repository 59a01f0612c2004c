"""The whole gateway on real language models: two experiments whose better policy is known by measurement.

SmolLM2-135M-Instruct, whole and with transformer blocks removed, answers the items of two public tasks on
this machine's CPU, offline. Nothing is simulated but the user, who marks each answer by a rule.

    python -m tests.e2e.real_models            `make demo-real`: serve, compare, prove, promote, verify
    python -m tests.e2e.real_models.measure    how often each policy is right on all items: the truth
"""
