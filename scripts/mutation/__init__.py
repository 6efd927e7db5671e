"""Mutation testing: one small mistake at a time in a contract or a Python file, to find mistakes that no test notices.

`python -m scripts.mutation` runs it. `*_mutants` find and apply the mistakes, `*_campaign` run the tests, `results`
keeps the outcomes.
"""
