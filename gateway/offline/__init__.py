"""`llmpo optimize`: compares policies on a list of tasks instead of live traffic, with the same core.

config.py, tasks.py            the input: policies, tasks, judge, limits
calls.py, answers.py           one answer per policy, task and repetition, paid for once
judges.py, llm_judge.py        which of two answers is better
course.py                      next comparison, ledger and plans: pure bookkeeping
journal.py, checkpoint.py      the files after each counted comparison, and how a run is resumed
run.py                         the run itself, with many calls at once
outcome.py                     the end: certificate, log for `llmpo verify`, figures
report.py, plots.py, view.py   the presentation for people
"""
