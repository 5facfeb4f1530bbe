"""Other programs beside ours, on the same inputs, with what they find judged.

A *task* says what is asked and what is right, a *program* who does it and how it is installed; both
are registries, as the cohorts of `cohorts` are. `run` times, `render` writes.
"""
