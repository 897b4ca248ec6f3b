"""Everything that README.md and ``docs/`` show is run, and what comes out is compared.

A page holds fenced blocks.  The first word behind the fence is the language, as every renderer of Markdown wants it;
words behind it, which no reader sees, say how the block is tested:

``console``
    Lines that begin with ``$ `` are commands, what follows each is what it prints on a terminal.  The blocks of one
    page are run in order, in one folder.  ``unordered``: the lines may come in any order.  ``maybe=WORD``: those with
    this word may be missing.  ``background``: the command
    goes on while the next blocks run, and is waited for at the end of the page.  ``ticks=N``: the block is run when N
    ticks of the connector ``tick`` are committed; ``ended``: when the commands in the background have ended.
``troy``
    A file; it must be free of errors and warnings.  ``file=NAME`` also writes it into the folder for the commands;
    ``faulty``: it has errors or warnings, which a console block beside it shows.
``tremor``
    ``file=NAME``: a module for the folder.  Otherwise one expression per line, with its value or error behind ``#``.
``python``
    A doctest.

What differs from run to run is listed in ``volatile.py``, and commands that no test can run in ``not_run.py``, each
with the reason; both are meant to stay short.  ``python -m tests.docs.rewrite PAGE…`` puts the real output in.
"""
