"""AWS for tests: moto behind a front that checks signatures, injects faults, keeps a log and knows NLB rules.

moto keeps records in memory and speaks the real wire protocol; `rules` adds what it lets pass and AWS does not.
Every account number is a world of its own, so tests run side by side on one server.
"""
