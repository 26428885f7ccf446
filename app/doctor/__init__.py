"""`python -m app doctor`: what is wrong with this installation, and how to put it right.

`checks.py` lists the checks; each is a function of the settings that yields findings. `running.py` gives each a
deadline, `report.py` writes the findings in English or Chinese.
"""
