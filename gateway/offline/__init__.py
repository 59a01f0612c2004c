"""`llmpo optimize`: policies compared on a list of tasks instead of live traffic, by the same core.

config.py, tasks.py            what is asked: policies, tasks, judge, limits
calls.py, answers.py           one answer per policy, task and repetition, paid for once
judges.py, llm_judge.py        which of two answers is better
course.py                      which comparison next, the ledger, the plans: pure bookkeeping
journal.py, checkpoint.py      what is on disk after each counted comparison, and how a run goes on
run.py                         all of it at work, many calls at once
outcome.py                     the end: certificate, log for `llmpo verify`, figures
report.py, plots.py, view.py   what people look at
"""
