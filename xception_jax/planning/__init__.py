"""Planning: what a sweep or run will need, before any compute is spent: budgets, memory, time."""
