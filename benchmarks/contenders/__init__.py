"""Five steps with other libraries, each as its own documentation would have it.

A peer's module has `setup`, `enqueue` and `work`. It runs in an environment of its own and imports
nothing of the platform:

    python -m benchmarks.contenders pgqueuer setup
    python -m benchmarks.contenders pgqueuer enqueue 1000
    python -m benchmarks.contenders pgqueuer work
"""
