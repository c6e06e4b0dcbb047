"""Speed and memory, each against the form it replaces. Every module is a command: `python -m benchmarks.train_step`."""
