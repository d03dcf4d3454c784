"""How fast models are: compiled programs by turns, other people's code, and a process's start."""
