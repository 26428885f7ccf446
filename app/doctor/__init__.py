"""`python -m app doctor`: what is wrong with this installation, and how to put it right.

`checks.py` lists the checks; each is a function of the settings that yields findings. `findings.py` gives each a
deadline, and writes the report in English or Chinese.
"""
